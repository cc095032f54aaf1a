"""What a user may set of a study."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cifar.errors import UserError

STUDIES_FOLDER = Path("studies")
DEFAULT_TRIALS = 50
SAMPLERS = ("tpe", "random", "qmc", "gp", "cmaes", "nsga2")
SAMPLER_PACKAGES = {"qmc": "scipy", "gp": "scipy", "cmaes": "cmaes"}  # that Optuna imports for them, late
PRUNERS = ("promotion", "hyperband", "successive_halving", "median", "none")


class StudyError(UserError):
    """A study, trial or setting of a study is unknown, impossible, or contradicts what the study holds."""


@dataclass(frozen=True)
class SearchSettings:
    """What one call of the search is asked to do; None leaves the choice to the plan."""

    space: str = "resnet_budget5m"
    """Built-in name, `package.module:attribute`, or path of a Python file."""
    study: str | None = None
    """Name of the study; None names it after the space."""
    storage: str | None = None
    """Optuna storage URL or path of a journal file; None keeps `studies/<study>/study.db`."""
    data: str | None = None
    """Data source, see `cifar.data.prepare.prepare`; None is CIFAR_DATA or official CIFAR-10."""
    time_budget: float | None = None
    """Seconds after which no trial goes on."""
    max_trials: int | None = None
    """Trials of the study in all, those of earlier calls included; with no time budget either, 50."""
    param_budget: int | None = None
    """Most parameters; None is the space's own limit."""
    param_budgets: tuple[int, ...] = ()
    """Several limits instead of `param_budget`; each trial draws one and keeps it."""
    mac_budget: int | None = None
    """Most multiply-accumulates an image; None leaves it to the plan, 0 is no limit."""
    min_epochs: int | None = None
    """Epochs of the first rung (Hyperband's r)."""
    max_epochs: int | None = None
    """Epochs of a full trial (Hyperband's R)."""
    epoch_budget: int | None = None
    """Epochs that the trials of this call may train in all; None is no limit."""
    eta: int | None = None
    """Reduction factor: one of eta trials goes on at each rung (Hyperband's eta); None is 2 for promotion, else 3."""
    train_size: int | None = None
    """Training images an epoch: a fixed, stratified subset."""
    val_size: int = 5000
    """Images of the training set kept for validation."""
    sampler: str = "tpe"
    """One of `SAMPLERS`."""
    pruner: str = "promotion"
    """One of `PRUNERS`."""
    seed: int = 0
    """Of the sampler and, with each trial's number, of the trials."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:<index> or mps."""
    workers: int = 1
    """Processes that run trials side by side on this machine."""
    auto_workers: bool = False
    """Whether the number of workers that train most in all is measured first, and taken."""
    warm_start: bool = True
    """Whether known good points are tried first."""
    deterministic: bool = False
    """Whether equal seeds must give equal weights."""
    replicate: bool = False
    """Whether an exact repeat of a candidate is trained again, with another seed, instead of reusing its result."""

    def __post_init__(self) -> None:
        _require(self.eta is None or self.eta >= 2, "--eta must be 2 or more", self.eta, "Leave it out")
        for name in ("min_epochs", "max_epochs", "train_size", "max_trials", "epoch_budget", "param_budget", "workers"):
            value = getattr(self, name)
            _require(value is None or value >= 1, f"--{_option(name)} must be 1 or more", value, "Leave it out")
        shown = ",".join(map(str, self.param_budgets))
        _require(all(limit >= 1 for limit in self.param_budgets), "--param-budget must be 1 or more", shown, "Raise it")
        _require(
            len(set(self.param_budgets)) == len(self.param_budgets),
            "--param-budget must name each limit once",
            shown,
            "Leave the second one out",
        )
        _require(
            not (self.param_budget and self.param_budgets),
            "param_budget is one limit, param_budgets are several; only one of the two can be given",
            f"{self.param_budget} and {shown}",
            "Leave param_budget out",
        )
        _require(
            self.mac_budget is None or self.mac_budget >= 0,
            "--mac-budget must be 0 or more",
            self.mac_budget,
            "0 is no limit",
        )
        _require(
            self.time_budget is None or self.time_budget > 0,
            "--time-budget must be longer than 0",
            self.time_budget,
            "Try 10m",
        )
        if self.min_epochs and self.max_epochs:
            _require(
                self.min_epochs <= self.max_epochs,
                "--min-epochs must not exceed --max-epochs",
                f"{self.min_epochs} and {self.max_epochs}",
                "Lower --min-epochs",
            )
        _require(
            self.val_size >= 1,
            "--val-size must be 1 or more: trials are compared on it",
            self.val_size,
            "Try 5000",
        )
        _require(
            self.sampler in SAMPLERS,
            "--sampler must be a known sampler",
            self.sampler,
            f"One of {', '.join(SAMPLERS)}",
        )
        package = SAMPLER_PACKAGES.get(self.sampler)
        _require(
            package is None or find_spec(package) is not None,
            f"--sampler {self.sampler} needs the package {package}",
            "not installed",
            f"pip install {package}",
        )
        _require(
            self.pruner in PRUNERS,
            "--pruner must be a known pruner",
            self.pruner,
            f"One of {', '.join(PRUNERS)}",
        )
        _require(0 <= self.seed < 2**63, "--seed must be in 0..2**63-1", self.seed, "Try 0")
        name = self.study_name
        _require(
            bool(name) and not name.startswith(".") and "/" not in name and "\\" not in name,
            "a study's name must be a plain folder name",
            repr(name),
            "Give another --study",
        )

    @property
    def reduction(self) -> int:
        """The reduction factor: as given, or the pruner's usual one."""
        return self.eta or (2 if self.pruner == "promotion" else 3)

    @property
    def study_name(self) -> str:
        """The study's name: as given, or after the space."""
        if self.study:
            return self.study
        return Path(self.space).stem if self.space.endswith(".py") else self.space.rpartition(":")[2]

    @property
    def folder(self) -> Path:
        """Where the study's files lie."""
        return STUDIES_FOLDER / self.study_name


def _option(field: str) -> str:
    return {"max_trials": "trials"}.get(field, field.replace("_", "-"))


def _require(holds: bool, rule: str, got: object, remedy: str) -> None:
    if not holds:
        raise StudyError(rule, got=got, remedy=remedy)

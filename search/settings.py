"""The settings of a search: what a user may choose, and which choices contradict one another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from cifar.errors import UserError

FINALS = "-finals"
"""Ending of the name of the study in which the best trials of another one are trained for longer."""
STUDIES_FOLDER = Path("studies")
DEFAULT_SPACE = "resnet_budget5m"
DEFAULT_TRIALS = 50
LONGEST_NAME = 200
"""Bytes of a study's name at most: file systems take names of 255, and some are the study's with an ending."""
SAMPLERS = ("tpe", "random", "qmc", "gp", "cmaes", "nsga2")
SAMPLER_PACKAGES = {"qmc": "scipy", "gp": "scipy", "cmaes": "cmaes"}  # optional; Optuna imports them when first used
ENGINES = ("local", "ray")
PRUNERS = ("promotion", "hyperband", "successive_halving", "median", "none")
ACCURACY, SECOND_OBJECTIVES = "accuracy", ("parameters", "macs", "latency")  # what --objective names
FRONT_PRUNERS = ("promotion", "none")  # those that can compare trials by two objectives, or compare none
OF_SPACE, NO_PRIOR, OF_STUDY = "space", "none", "study:"  # values of --prior; a study's name follows the last

WorkerChoice = Literal["given", "usual", "measured"]

Check = tuple[bool, str, object, str]
"""Whether a rule holds, the rule, the value received, the remedy."""


class StudyError(UserError):
    """A study, trial or setting of a study is unknown, impossible, or contradicts what the study holds."""


@dataclass(frozen=True)
class SearchSettings:
    """What one call of the search is asked to do; None leaves the choice to the plan."""

    space: str = DEFAULT_SPACE
    """Built-in name, `package.module:attribute`, or path of a Python file."""
    study: str | None = None
    """Name of the study; None names it after the space."""
    storage: str | None = None
    """Optuna storage URL or path of a journal file; None keeps `studies/<study>/study.db`."""
    checkpoints: str | None = None
    """Folder for the checkpoints of paused trials, or a URL such as s3://bucket/folder; they lie in one of the study's
    name there. None is as the study began, and `studies/<study>/checkpoints` for a new one."""
    data: str | None = None
    """Data source, see `cifar.data.prepare.prepare`; None is CIFAR_DATA or official CIFAR-10."""
    split: float | None = None
    """Share of each class for training, the rest being for the test, of images that are not split; else None."""
    time_budget: float | None = None
    """Seconds after which no epoch starts; None is no limit."""
    trial_timeout: float | None = None
    """Seconds within which an epoch of a trial must end, else the trial fails; None is no limit."""
    objective: tuple[str, ...] = ()
    """What is searched for: `accuracy`, which is what trials report whatever it is, and perhaps one of
    `SECOND_OBJECTIVES`, smaller being better; empty is as the study began, and accuracy alone for a new one."""
    max_trials: int | None = None
    """Trials of the study in all, those of earlier calls included; None is 50, unless time or epochs are limited."""
    param_budget: int | None = None
    """Most parameters; None is the space's own limit."""
    param_budgets: tuple[int, ...] = ()
    """Several limits instead of `param_budget`; each trial draws one of them and keeps it."""
    mac_budget: int | None = None
    """Most multiply-accumulates an image; None leaves it to the plan, 0 is no limit."""
    min_epochs: int | None = None
    """Epochs of the first rung, r (see `search.planning.rungs`)."""
    max_epochs: int | None = None
    """Epochs of a full trial, R."""
    epoch_budget: int | None = None
    """Epochs that the trials of this call may train in all; None is no limit."""
    eta: int | None = None
    """Reduction factor: one of eta trials is trained beyond each rung; None is 2 for promotion, else 3."""
    train_size: int | None = None
    """Training images an epoch: a fixed, stratified subset."""
    val_size: int | None = None
    """Images of the training set kept for validation; None is a share of them, of CIFAR-10 5,000."""
    sampler: str = "tpe"
    """One of `SAMPLERS`."""
    pruner: str = "promotion"
    """One of `PRUNERS`."""
    seed: int | None = None
    """Seed of the sampler; each trial's own derives from it and the trial's number; None is as the study began, and 0
    for a new one."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:<index> or mps."""
    workers: int = 1
    """Processes that run trials side by side on this machine."""
    worker_choice: WorkerChoice = "given"
    """How their number is chosen: as given, as usual (see `search.planning.workers.usual_number`), or measured."""
    engine: str = "local"
    """One of `ENGINES`: processes on this machine, or Ray Tune on a cluster, which takes as many as have room."""
    address: str | None = None
    """Of the Ray cluster, host:port, or `auto` for the one that runs on this machine; None starts one of it alone."""
    cpus_per_trial: float = 1.0
    """CPUs that Ray keeps for each trial."""
    gpus_per_trial: float | None = None
    """GPUs that Ray keeps for each trial, a share of one or a whole number; None is one where the cluster has any."""
    max_concurrent: int | None = None
    """Trials that Ray trains side by side, at most; None is as many as have room."""
    prior: str | None = None
    """Where good candidates are expected: `space` (its own), `none`, or `study:NAME`, the best trial of that study;
    None is as the study began, and the space's own for a new one."""
    warm_start: bool = True
    """Whether known good points are tried first."""
    retrain: bool = False
    """Whether the time budget is for all of it: `run_search` uses its share, `finish_search` the rest."""
    deterministic: bool = False
    """Whether equal seeds must give equal weights."""
    replicate: bool = False
    """Whether an exact repeat of a candidate is trained again, with another seed, instead of reusing its result."""

    def __post_init__(self) -> None:
        named = (*self._names(), *self._objectives())
        for holds, rule, got, remedy in (*self._numbers(), *self._parameter_limits(), *named, *self._cluster()):
            if not holds:
                raise StudyError(rule, got=got, remedy=remedy)

    def _numbers(self) -> Iterator[Check]:
        """Numbers that must lie in a range."""
        yield self.eta is None or self.eta >= 2, "--eta must be 2 or more", self.eta, "Leave it out"
        counts = {
            "min-epochs": self.min_epochs,
            "max-epochs": self.max_epochs,
            "train-size": self.train_size,
            "trials": self.max_trials,
            "epoch-budget": self.epoch_budget,
            "param-budget": self.param_budget,
            "workers": self.workers,
        }
        for option, count in counts.items():
            yield count is None or count >= 1, f"--{option} must be 1 or more", count, "Leave it out"
        yield (self.mac_budget or 0) >= 0, "--mac-budget must be 0 or more", self.mac_budget, "0 is no limit"
        seconds = self.time_budget
        yield seconds is None or seconds > 0, "--time-budget must be longer than 0", seconds, "Try 10m"
        timeout = self.trial_timeout
        yield timeout is None or timeout > 0, "--trial-timeout must be longer than 0", timeout, "Try 10m"
        given = not self.retrain or seconds is not None
        yield given, "--retrain needs --time-budget, which it divides", "none", "Try --time-budget 1h"
        yield (
            (self.min_epochs or 1) <= (self.max_epochs or math.inf),
            "--min-epochs must not exceed --max-epochs",
            f"{self.min_epochs} and {self.max_epochs}",
            "Lower --min-epochs",
        )
        compared = "--val-size must be 1 or more: trials are compared on it"
        yield self.val_size is None or self.val_size >= 1, compared, self.val_size, "Leave it out"
        inside = self.split is None or 0 < self.split < 1
        yield inside, "--split must be between 0 and 1", self.split, "Try 0.8"
        yield 0 <= (self.seed or 0) < 2**63, "--seed must be in 0..2**63-1", self.seed, "Try 0"

    def _parameter_limits(self) -> Iterator[Check]:
        """One parameter limit or several, each above 0 and named once."""
        limits, shown = self.param_budgets, ",".join(map(str, self.param_budgets))
        yield all(limit >= 1 for limit in limits), "--param-budget must be 1 or more", shown, "Raise it"
        once = "--param-budget must name each limit once"
        yield len(set(limits)) == len(limits), once, shown, "Leave the second one out"
        yield (
            not (self.param_budget and limits),
            "param_budget is one limit, param_budgets are several; only one of the two can be given",
            f"{self.param_budget} and {shown}",
            "Leave param_budget out",
        )

    def _names(self) -> Iterator[Check]:
        """Sampler and pruner, which must be known, and the study's name, which becomes a folder's."""
        samplers, pruners = (f"One of {', '.join(known)}" for known in (SAMPLERS, PRUNERS))
        yield self.sampler in SAMPLERS, "--sampler must be a known sampler", self.sampler, samplers
        package = SAMPLER_PACKAGES.get(self.sampler)
        yield (
            package is None or find_spec(package) is not None,
            f"--sampler {self.sampler} needs the package {package}",
            "not installed",
            f"pip install {package}",
        )
        yield self.pruner in PRUNERS, "--pruner must be a known pruner", self.pruner, pruners
        name, prior = self.study_name, self.prior or OF_SPACE
        plain = f"a study's name must be a plain folder name of at most {LONGEST_NAME} bytes"
        yield _is_plain(name), plain, repr(name[:60]), "Give another --study"
        known = prior in (OF_SPACE, NO_PRIOR) or (prior.startswith(OF_STUDY) and _is_plain(prior[len(OF_STUDY) :]))
        yield known, "--prior is space, none, or study:NAME", repr(prior), "Try study:resnet_budget5m"

    def _objectives(self) -> Iterator[Check]:
        """One objective or two, which not every pruner compares."""
        known = f"--objective is {ACCURACY}, or {ACCURACY} and one of {', '.join(SECOND_OBJECTIVES)}"
        pairs = ((ACCURACY, second) for second in SECOND_OBJECTIVES)
        yield self.objective in ((), (ACCURACY,), *pairs), known, ",".join(self.objective), f"Try {ACCURACY},parameters"
        yield (
            len(self.objective) < 2 or self.pruner in FRONT_PRUNERS,
            "--pruner must compare two objectives, or none",
            self.pruner,
            f"One of {', '.join(FRONT_PRUNERS)}",
        )

    def _cluster(self) -> Iterator[Check]:
        """The engine, and what only Ray is told."""
        yield self.engine in ENGINES, "--engine must be a known engine", self.engine, f"One of {', '.join(ENGINES)}"
        told = {
            "address": self.address,
            "cpus-per-trial": self.cpus_per_trial if self.cpus_per_trial != 1 else None,
            "gpus-per-trial": self.gpus_per_trial,
            "max-concurrent": self.max_concurrent,
        }
        for option, value in told.items():
            yield self.engine == "ray" or value is None, f"--{option} needs --engine ray", value, "Add it"
        local = "--trial-timeout is for processes on this machine"
        yield self.engine == "local" or self.trial_timeout is None, local, self.trial_timeout, "Leave it out"
        measured = "--workers auto is for processes on this machine; Ray takes as many trials as have room"
        yield not (self.engine == "ray" and self.worker_choice == "measured"), measured, "auto", "Give --max-concurrent"
        direct = "--address must be host:port, or auto: a Ray client cannot drive a search"
        yield "://" not in (self.address or ""), direct, self.address, "Start the command on a node of the cluster"
        cpus, gpus, most = self.cpus_per_trial, self.gpus_per_trial or 0, self.max_concurrent
        yield 0 < cpus < math.inf, "--cpus-per-trial must be above 0", cpus, "Try 1"
        shares = "--gpus-per-trial must be a share of one GPU, such as 0.25, or a whole number"
        yield 0 <= gpus < 1 or gpus == int(gpus) > 0, shares, self.gpus_per_trial, "Try 1"
        yield most is None or most >= 1, "--max-concurrent must be 1 or more", most, "Leave it out"

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


def _is_plain(name: str) -> bool:
    """Whether the name of a study can be that of its folder."""
    plain = name.isprintable() and not name.startswith(".") and "/" not in name and "\\" not in name
    return bool(name) and plain and len(name.encode()) <= LONGEST_NAME

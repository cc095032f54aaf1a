"""The candidates that `--trial` or `--recipe` names, and where their runs belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial

from cifar.candidate import Candidate, RecipeFile, Variant
from cifar.data.prepare import OFFICIAL
from cifar.networks.imagenet import with_options
from cifar.recipe import recipe_names
from search.retraining.growth import grown_variants
from search.retraining.models import register_networks
from search.settings import STUDIES_FOLDER, SearchSettings, StudyError
from search.study.attributes import MAC_BUDGET_PROPOSED, RECIPE, SOURCE, SPLIT, record
from search.study.folder import claim_folder
from search.study.standing import choose_trials
from search.study.study import require_study, stored_plan
from search.study.trials import reached
from spaces.multi_limit import LIMIT

RECIPES_STUDY = "reference"
"""Study that runs of recipes belong to."""


def final_folder(settings: SearchSettings) -> Path:
    """The folder of the final training of `search.run --retrain`."""
    return settings.folder / "runs" / "final"


@dataclass(frozen=True)
class Origin:
    """What the search asked of a trial, and what it found."""

    value: float | None
    """The trial's value in the search; None before the first."""
    epochs: int
    """Epochs after which it had this value."""
    full_epochs: int
    """Epochs of a full trial of the search."""
    param_budget: int | None
    """Most parameters that the trial could have; None is no limit."""


@dataclass(frozen=True)
class NamedCandidate:
    """A candidate and its names."""

    name: str
    """Name in file names, such as `trial-7`."""
    title: str
    """Name for people, such as `trial 7 of study toy`."""
    candidate: Candidate
    """What is trained."""
    longer: tuple[Variant, ...] = ()
    """What is trained instead where a time budget allows more."""
    origin: Origin | None = None
    """The trial that it is; None for a recipe."""

    def run_name(self, seed: int) -> str:
        """Name of the folder of its run with a seed."""
        return f"{self.name}-seed{seed}"


@dataclass(frozen=True)
class Chosen:
    """What a command's options chose to train."""

    candidates: tuple[NamedCandidate, ...]
    """One candidate or several."""
    study: str
    """Name of the study that runs and files belong to."""
    source: str | None = None
    """Data source of the study; None for recipes, and for official CIFAR-10."""
    split: float | None = None
    """Share of each class that the study trains on, of a source that is not split; else None."""
    by_recipe: bool = False
    """Whether a recipe was named, not a trial."""

    @property
    def folder(self) -> Path:
        """Folder of the study."""
        return STUDIES_FOLDER / self.study

    def only(self, purpose: str) -> NamedCandidate:
        """The one candidate chosen.

        Args:
            purpose: names in the error what takes only one trial.

        Raises:
            StudyError: several trials were chosen.
        """
        if len(self.candidates) > 1:
            got = str(len(self.candidates))
            raise StudyError(f"{purpose} takes one trial", got=got, remedy="Give --trial best or a number")
        return self.candidates[0]

    def transferred(self, weights: Path | None, unfreeze: str | None) -> Chosen:
        """The choice with pretrained weights, or with other parts to train, where one of the two is given.

        Raises:
            ConfigError: the network does not start from ImageNet weights, or has no such parts.
        """
        if weights is None and unfreeze is None:
            return self
        changed = (
            replace(one.candidate, network=with_options(one.candidate.network, weights=weights, unfreeze=unfreeze))
            for one in self.candidates
        )
        return replace(
            self,
            candidates=tuple(
                replace(one, candidate=candidate) for one, candidate in zip(self.candidates, changed, strict=True)
            ),
        )


def choose(
    *, recipe: str | None, trial: str, study: str, storage: str | None, space: str | None, in_folder: bool = True
) -> Chosen:
    """The candidates that a command's options name.

    Args:
        recipe: a built-in recipe or a TOML file; None takes trials.
        trial: best, a trial's number, top-K, or front.
        study: name of the study.
        storage: Optuna storage of the study; None is its own database.
        space: the space that defines the study's own network classes, if it has one.
        in_folder: whether files are to be written into the study's folder.

    Raises:
        UserError: no such recipe, study, trial or space; the study's folder belongs to another one.
    """
    return _of_trials(trial, study, storage, space, in_folder) if recipe is None else _of_recipe(recipe)


def _of_recipe(recipe: str) -> Chosen:
    path = Path(recipe)
    file = RecipeFile.read(path) if path.suffix == ".toml" else RecipeFile.named(recipe)
    named = NamedCandidate(f"recipe-{path.stem}", f"recipe {path.stem}", file.candidate, file.longer)
    return Chosen((named,), RECIPES_STUDY, by_recipe=True)


def _of_trials(wanted: str, study_name: str, storage: str | None, space: str | None, in_folder: bool) -> Chosen:
    register_networks(space)
    settings = SearchSettings(study=study_name, storage=storage)
    study = require_study(settings)
    if in_folder:
        claim_folder(settings, study)
    named = []
    for trial in choose_trials(study, wanted):
        title = f"trial {trial.number} of study {study_name}"
        described = record(trial).candidate
        assert described is not None  # of every trial that can be chosen
        candidate = Candidate.from_dict(described, where=title)
        longer = _longer(study, trial, candidate)
        named.append(NamedCandidate(f"trial-{trial.number}", title, candidate, longer, _origin(study, trial)))
    source = study.user_attrs.get(SOURCE)
    known = None if source == OFFICIAL else source
    return Chosen(tuple(named), study_name, known, study.user_attrs.get(SPLIT))


def _origin(study: optuna.Study, trial: FrozenTrial) -> Origin:
    plan, epochs = stored_plan(study), reached(trial)
    limit = trial.params.get(LIMIT, plan.param_budget)
    return Origin(trial.intermediate_values.get(epochs), epochs, plan.max_epochs, limit)


def _longer(study: optuna.Study, trial: FrozenTrial, candidate: Candidate) -> tuple[Variant, ...]:
    """What is trained instead where a time budget allows more than the search's trials had.

    A trial of a limited search is widened, within the parameter limit; one that is a built-in recipe as it is becomes
    that recipe's variants; any other stays as it is.
    """
    plan = stored_plan(study)
    if study.user_attrs.get(MAC_BUDGET_PROPOSED) and plan.param_budget and not plan.param_budgets:
        return grown_variants(candidate, plan.param_budget)
    recipe = trial.user_attrs.get(RECIPE)
    if recipe not in recipe_names():
        return ()
    file = RecipeFile.named(recipe)
    classes = int(candidate.to_dict()["network"]["num_classes"])  # every built-in network has them
    return file.longer if file.candidate.for_data(classes, candidate.network.image_size) == candidate else ()

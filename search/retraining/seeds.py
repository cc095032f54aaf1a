"""The runs of a command: each candidate once a seed, each in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cifar.data.prepare import PreparedData
from cifar.data.splits import fitting_val_size
from search.retraining.candidates import Chosen, NamedCandidate
from search.retraining.final_evaluation import Outcome
from search.retraining.retrainer import require_same_run
from search.retraining.run_record import RUN
from search.retraining.settings import VAL_SIZE, RetrainSettings
from search.settings import StudyError


@dataclass(frozen=True)
class PlannedRun:
    """One candidate with one seed."""

    named: NamedCandidate
    """What is trained."""
    seed: int
    """Seed of weights, data order and augmentation."""
    folder: Path
    """Where the files of the run go."""


def planned_runs(chosen: Chosen, seeds: Sequence[int], out: Path | None) -> list[PlannedRun]:
    """Every candidate with the first seed, then every candidate with the next.

    Args:
        chosen: what is trained.
        seeds: one or more.
        out: folder of the run, or of the folders of several runs; None is that of the study's runs.
    """
    runs = []
    for seed in seeds:
        for one in chosen.candidates:
            folder = out or chosen.folder / "runs" / one.run_name(seed)
            if out and len(seeds) > 1:
                folder = out / one.run_name(seed)
            elif out and len(chosen.candidates) > 1:
                folder = out / one.name
            runs.append(PlannedRun(one, seed, folder))
    return runs


def validation_size(chosen: Chosen, settings: RetrainSettings, seeds: int, train_count: int) -> int | None:
    """The validation images that are asked for, or as many as the choice that is to be made needs.

    Args:
        chosen: what is trained.
        settings: settings of the command.
        seeds: how many train each candidate.
        train_count: images for training and validation together.

    Returns:
        None leaves the recipe's own.
    """
    if settings.val_size is not None:
        return settings.val_size
    if chosen.by_recipe:
        own = chosen.candidates[0].candidate.recipe.val_size
        size = fitting_val_size(VAL_SIZE if seeds > 1 and own == 0 else own, train_count)
        return None if size == own else size
    return fitting_val_size(VAL_SIZE, train_count) if seeds > 1 or settings.keep == "best" else 0


def require_folders(
    runs: Sequence[PlannedRun], out: Path | None, data: PreparedData, settings: RetrainSettings
) -> None:
    """Checks before the first run that every run will find a folder.

    Raises:
        StudyError: a folder holds another run, or `out` cannot hold the runs.
    """
    if out is not None:
        _require_folder(out, len(runs))
    for run in runs:
        if run.seed == runs[0].seed or settings.time_budget is None:  # else its epochs are not known yet
            require_same_run(run.named.candidate, run.folder, data, settings_of(run, settings, {}))


def _require_folder(out: Path, runs: int) -> None:
    files = [path for path in (out, *out.parents) if path.exists() and not path.is_dir()]
    if files:
        raise StudyError("--out must be a folder", got=f"{files[0]}, a file", remedy="Give another --out")
    if (out / RUN).exists() and runs > 1:
        raise StudyError(
            "--out must be a folder that can hold a folder for each run",
            got=f"{out}, the folder of one run",
            remedy="Give another --out",
        )


def settings_of(run: PlannedRun, settings: RetrainSettings, earlier: Mapping[int, Outcome]) -> RetrainSettings:
    """The settings with the run's seed; with a time budget, all seeds train what the candidate's first did, as long.

    Args:
        run: which run.
        settings: settings of the command.
        earlier: outcomes of the candidate's earlier runs by seed, the first seed first.
    """
    if settings.time_budget is not None and earlier:
        first = next(iter(earlier.values())).record
        settings = replace(settings, time_budget=None, epochs=first.epochs, longer=first.longer)
    return replace(settings, seed=run.seed)


def announcement(runs: Sequence[PlannedRun], settings: RetrainSettings) -> str:
    """What several seeds will train, and what the choice will be made by."""
    size = runs[0].named.candidate.recipe.val_size if settings.val_size is None else settings.val_size
    judged = f"compared on {size:,} validation images" if size else "no validation images, so nothing will be chosen"
    return f"{len(runs)} runs, seeds {runs[0].seed} to {runs[-1].seed}: {judged}"

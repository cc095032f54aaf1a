"""Every key under which a study and its trials hold what Optuna has no place for.

Stored studies use these keys: changing one breaks the studies that exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial

# ---- of a study

PLAN = "plan"
"""The `Plan` that all trials share, as a dictionary."""
SPACE = "space"
"""The space as `--space` named it."""
DATA = "data"
"""Fingerprint of the data set; None for a space without images."""
SOURCE = "data_source"
"""Where the data set came from, as `--data` named it."""
SPLIT = "split"
"""Share of each class that is for training, of a source that is not split into training and test images; else None."""
OBJECTIVES = "objectives"
"""Both objectives of a study of two, as `--objective` named them; a study of one has no such key."""
PRIOR = "prior"
"""Where the study's prior comes from: `name` as `--prior` has it and, of another study's best trial, what it held."""
MAC_BUDGET_PROPOSED = "mac_budget_proposed"
"""Whether the plan's limit of multiply-accumulates is what this machine can search, not what the user asked for."""
SEED = "seed"
"""The study's seed; in a trial, the trial's own, which also names its checkpoint."""
IDENTITY = "identity"
"""A random name that no other study has; the study's folder may hold it too, see `search.study.folder`."""
PROGRESS = "retrain"
"""How far the time of `search.run --retrain` is used: a `Progress`, as a dictionary."""
FORECAST = "forecast "
"""Beginning of the key of a `Call`; the time at which the call began follows, since calls may run side by side."""
CHECKPOINT_FOLDER = "checkpoints"
"""Where the trials' checkpoints are: `folder`, and the `id` in the file that marks it as this study's."""
LEASE = "lease "
"""Beginning of the key of a driver's lease, its id follows: `machine`, and `renewals`, None once it has ended."""

# ---- of a trial

CANDIDATE = "candidate"
"""The candidate's JSON form."""
SUMMARY = "summary"
"""The candidate in a few words."""
FINGERPRINT = "fingerprint"
"""Hash of the candidate: equal for equal networks and recipes."""
PARAMETERS = "parameters"
"""The network's parameters."""
MACS = "macs"
"""The network's multiply-accumulates an image."""
LATENCY = "latency_ms"
"""Milliseconds in which the untrained network answers one image, where that is an objective."""
BATCH_LATENCY = "latency_128_ms"
"""Milliseconds in which it answers a batch of 128, measured beside it."""
RECIPE = "recipe"
"""Name of the recipe that a warm start stands for; spaces read it."""
WARM_START = "warm_start"
"""Name of the known good point that the trial began as."""
BASELINE = "baseline"
"""True in the trial that every other one is to beat: the space's first known good point, trained in full first."""
WORKER = "worker"
"""Random id of the driver that runs the trial, and for people its host and process id (see `search.study.leases`)."""
PAUSED = "paused"
"""Epochs in the checkpoint of a paused trial; 0 while the trial runs."""
LAST_JOB = "stint"
"""[epochs, epochs]: where the trial's last job began, and where it was to pause."""
SAVED = "saved"
"""Epochs in the trial's newest checkpoint, paused or not; none where its space saves nothing, as recorded curves do."""
EPOCH_SECONDS = "epoch_seconds"
"""Seconds an epoch: the median of a job's epochs after the first, which includes its set-up; else the first."""
RIGHT = "right"
"""Which validation images a complete trial got right, see `search.study.right_images`; none where it is not known."""
PROPOSED_BY = "proposed_by"
"""Where the trial's parameters come from, see `search.engine.sources.Source`; none for a warm start."""
REASON = "reason"
"""Why the trial ended, in a few words."""
CONTINUES = "continues"
"""Number of the trial, closed when its search ended, that this one resumes."""
REPEAT_OF = "repeat_of"
"""Number of the trial whose candidate this one repeats and whose result it reuses."""
RETRY_OF = "retry_of"
"""Number of the failed trial whose parameters this one tries again."""
TRY_AGAIN = "try_again"
"""True in a failed trial whose parameters are queued again right after it has failed."""
FINALIST = "finalist"
"""In the study of the finals: number of the trial, in the study that was searched, that is trained for longer."""

_WRITTEN = frozenset(
    {CANDIDATE, SUMMARY, FINGERPRINT, SEED, PARAMETERS, MACS, WORKER, PAUSED, LAST_JOB, SAVED, EPOCH_SECONDS}
    | {LATENCY, BATCH_LATENCY, RIGHT, PROPOSED_BY, REASON, CONTINUES, REPEAT_OF, RETRY_OF, TRY_AGAIN}
)


def given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a trial was queued with, such as the recipe of a warm start; `suggest` may read them."""
    return {key: value for key, value in attributes.items() if key not in _WRITTEN}


@dataclass(frozen=True)
class TrialRecord:
    """What a trial holds beside Optuna's own fields."""

    candidate: Mapping[str, Any] | None
    """The candidate's JSON form; None before it was proposed."""
    summary: str
    """The candidate in a few words; empty before it was proposed, and in studies made before this was kept."""
    fingerprint: str | None
    """Hash of the candidate; None before it was proposed."""
    seed: int | None
    """The trial's own seed, which also names its checkpoint; None before it was proposed."""
    parameters: int | None
    """Parameters of the network; None where the candidate has no cost."""
    macs: int | None
    """Multiply-accumulates an image; None where the candidate has no cost."""
    latency: float | None
    """Milliseconds for one image; None where it was not measured."""
    batch_latency: float | None
    """Milliseconds for a batch of 128; None likewise."""
    paused: int
    """Epochs in the checkpoint of a paused trial; 0 while the trial runs."""
    start: int
    """Epochs at which the trial's last job began."""
    end: int | None
    """Epochs at which the trial's last job was to pause; None before the first."""
    kept: int
    """Epochs of the trial that are not lost where its process ends: `start`, or those of a checkpoint since then."""
    epoch_seconds: float | None
    """Seconds an epoch; None before the first."""
    reason: str
    """Why the trial ended, in a few words; empty while it has not."""
    resumes: int | None
    """Number of the closed trial that this one resumes."""
    repeats: int | None
    """Number of the trial whose result this one reuses."""
    retries: int | None
    """Number of the failed trial whose parameters this one tries again."""
    warm_start: str | None
    """Name of the known good point that the trial began as."""


def record(trial: FrozenTrial) -> TrialRecord:
    """The trial's attributes as a typed record."""
    held = trial.user_attrs
    start, end = held.get(LAST_JOB) or (0, None)
    return TrialRecord(
        candidate=held.get(CANDIDATE),
        summary=held.get(SUMMARY, ""),
        fingerprint=held.get(FINGERPRINT),
        seed=held.get(SEED),
        parameters=held.get(PARAMETERS),
        macs=held.get(MACS),
        latency=held.get(LATENCY),
        batch_latency=held.get(BATCH_LATENCY),
        paused=int(held.get(PAUSED) or 0),
        start=int(start),
        end=None if end is None else int(end),
        kept=max(int(start), int(held.get(SAVED) or 0)),
        epoch_seconds=held.get(EPOCH_SECONDS),
        reason=held.get(REASON, ""),
        resumes=held.get(CONTINUES),
        repeats=held.get(REPEAT_OF),
        retries=held.get(RETRY_OF),
        warm_start=held.get(WARM_START),
    )

"""What a plan leads to beyond its time: trials at each rung, space on the disk, and where it is too small."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifar.networks.resnet import ResNetConfig

if TYPE_CHECKING:
    from search.planning.planner import Forecast, Plan
    from search.settings import SearchSettings

BYTES_A_NUMBER = 4
COPIES = 1 + 5 / 3 + 2 / 3
"""Numbers a checkpoint holds for each parameter, on average over the spaces: the weight; the optimizer's state, one of
SGD and two of Adam and AdamW; a moving average in two of three trials."""


def trials_reaching(plan: Plan, pruner: str, trials: int) -> list[int]:
    """How many of the trials are expected to be trained up to each rung, the last included."""
    count = len(plan.rungs)
    if pruner == "none":
        return [trials] * count
    if pruner in ("promotion", "successive_halving"):
        return [min(trials, max(1, trials // plan.eta**level)) for level in range(count)]
    # Hyperband gives eta^s / (s + 1) of the trials to the bracket that begins s rungs below the last
    weights = [float(plan.eta) ** s / (s + 1) for s in reversed(range(count))]
    shares = [
        sum(w / float(plan.eta) ** max(0, level - first) for first, w in enumerate(weights)) / sum(weights)
        for level in range(count)
    ]
    return [min(trials, max(1, round(trials * share))) for share in shares]


def expected_parameters(plan: Plan) -> int | None:
    """Of a trial's network, at most: as the limits allow a network of the usual shape; None without limits."""
    found = []
    if plan.param_budget:
        limits = plan.param_budgets or (plan.param_budget,)
        found.append(sum(limits) // len(limits))
    if plan.mac_budget:
        usual = ResNetConfig(blocks=(3, 4, 3), channels=(66, 132, 264), stem=66).cost()
        found.append(round(usual.parameters * plan.mac_budget / (usual.macs * (plan.image_size / 32) ** 2)))
    return min(found, default=None)


def checkpoint_bytes(parameters: float) -> int:
    """Expected size of the file that a paused trial goes on from."""
    return round(BYTES_A_NUMBER * COPIES * parameters)


def disk(plan: Plan, pruner: str, trials: int, parameters: float | None = None) -> int | None:
    """Bytes of the checkpoints of trials that are paused when a search ends; None where unknown.

    Args:
        plan: of the study.
        pruner: only promotion pauses trials.
        trials: expected of the search.
        parameters: mean of the study's trials; None is as the limits allow.
    """
    if pruner != "promotion" or not plan.train_size:
        return 0
    parameters = parameters or expected_parameters(plan)
    if parameters is None:
        return None
    return checkpoint_bytes(parameters) * (trials - trials_reaching(plan, pruner, trials)[-1])


def shortfalls(plan: Plan, outlook: Forecast, settings: SearchSettings) -> list[str]:
    """Lines about what was asked for that the budget does not hold; none where all is well."""
    lines = []
    held = [settings.epoch_budget / plan.max_epochs] if settings.epoch_budget else []
    if settings.time_budget and outlook.epoch_seconds:
        held.append(settings.time_budget * settings.workers / outlook.epoch_seconds / plan.max_epochs)
    if held and min(held) < 1:
        what = "--epoch-budget" if settings.epoch_budget and min(held) == held[0] else "--time-budget"
        lines.append(
            f"short       {what} holds {min(held):.2g} of one full trial of {plan.max_epochs} epochs, so none is sure "
            "to be complete; raise it, or lower --max-epochs"
        )
    needed = plan.eta ** (len(plan.rungs) - 1)
    if settings.pruner != "none" and outlook.trials < needed:
        lines.append(
            f"few         {outlook.trials} trials do not fill {len(plan.rungs)} rungs, at each of which one of "
            f"{plan.eta} goes on: that takes {needed}; allow more, or raise --min-epochs"
        )
    return lines

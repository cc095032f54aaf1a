"""Where the trials of a study stand, in words: the best one against the baseline, and what cannot be told from it."""

from __future__ import annotations

from optuna.trial import FrozenTrial

from search.format import format_numbers, format_points, format_points_range, format_value
from search.reporting.tables import Section
from search.study.attributes import FINALIST
from search.study.standing import Lead, Standing


def standing_section(stands: Standing) -> Section:
    """The best trial against the baseline."""
    return Section("Against the baseline", (verdict(stands), *level(stands)), _notes(stands.lead))


def _notes(lead: Lead | None) -> tuple[str, ...]:
    """What the interval means; none where there is none."""
    if lead is None or lead.interval is None:
        return ()
    counts = "the validation images that one of the two trials alone got right"
    if not lead.paired:
        counts = "right answers on the validation images as if the trials had seen different ones, and is too wide"
    left_out = "It leaves out what another seed would change, and that the leader was chosen among several."
    return (f"The interval counts {counts}. {left_out}",)


def verdict(stands: Standing) -> str:
    """Which trial is best, and why, in a sentence."""
    leader, lead = _number(stands.leader), stands.lead
    if stands.baseline is None:
        return f"Trial {leader} is best; no baseline was trained in full that it could be compared with."
    baseline = f"trial {_number(stands.baseline)}, the baseline"
    if not stands.comparable:
        return f"{baseline.capitalize()}, is best as long as no trial is complete."
    if lead is None:
        return f"{baseline.capitalize()}, is best: no complete trial has a better value."
    ahead = f"Trial {leader} is ahead of {baseline}, by {_by(lead)}"
    return f"{ahead}: it is best." if lead.shown else f"{ahead}, which may be chance: the baseline stays best."


def level(stands: Standing) -> list[str]:
    """A sentence about the trials that cannot be told from the leader; none where there are none."""
    if not stands.level:
        return []
    numbers = format_numbers([_number(trial) for trial in stands.level])
    trials = f"trial{'s' * (len(stands.level) > 1)} {numbers}"
    return [f"Not told apart from trial {_number(stands.leader)} by 95 % intervals: {trials}."]


def _number(trial: FrozenTrial) -> int:
    """The trial's number; in the finals, that of the trial of the search that is trained for longer."""
    return int(trial.user_attrs.get(FINALIST, trial.number))


def _by(lead: Lead) -> str:
    if lead.interval is None:
        return format_value(lead.difference, percent=False)
    return f"{format_points(lead.difference)} points (95 % interval {format_points_range(*lead.interval)})"

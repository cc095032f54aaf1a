"""What is shown during a search: the board, plain lines, the live table."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from search.engine.events import EpochDone, Event, TrialEnded, TrialOutcome, TrialStarted
from search.planning.plan import Plan
from search.reporting.screen.board import Board
from search.reporting.screen.live import STYLES, render
from search.reporting.screen.terminal import (
    JsonDisplay,
    LineDisplay,
    LiveDisplay,
    QuietDisplay,
    choose_display,
    folded,
)

PLAN = Plan(1, 4, 2, 1000, 100, 100, 300_000, None, from_top=True)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def board(deadline: float | None = None, max_trials: int | None = None, clock: Clock | None = None) -> Board:
    return Board(PLAN, True, True, deadline, max_trials, clock or Clock())


def trial(number: int, values: list[float], outcome: TrialOutcome | None) -> list[Event]:
    """The events of a trial; without an outcome it still runs."""
    events: list[Event] = [TrialStarted(number, f"candidate {number}", 20_000, 40_460_000)]
    events += [EpochDone(number, epoch, value, 2.0, {"images": 50.0}) for epoch, value in enumerate(values, start=1)]
    if outcome is not None:
        events.append(TrialEnded(number, outcome, values[-1] if values else None, len(values), "a reason"))
    return events


def feed(made: Board, *trials: list[Event]) -> None:
    for events in trials:
        for event in events:
            made.update(event)


def test_complete_trials_rank_before_longer_ones_and_those_before_better_ones() -> None:
    made = board()
    feed(
        made,
        trial(0, [0.9], TrialOutcome.PRUNED),
        trial(1, [0.1, 0.2], TrialOutcome.PAUSED),
        trial(2, [0.1, 0.2, 0.3, 0.4], TrialOutcome.COMPLETE),
        trial(3, [0.1, 0.2, 0.3, 0.5], TrialOutcome.COMPLETE),
        trial(4, [], None),
    )
    assert [row.number for row in made.sorted()] == [4, 3, 2, 1, 0]
    best = made.best()
    assert best is not None
    assert best.number == 3


@pytest.mark.parametrize("outcome", [None, *TrialOutcome])
def test_the_best_is_a_trial_that_runs_or_was_trained(outcome: TrialOutcome | None) -> None:
    made = board()
    feed(made, trial(0, [0.9], outcome))
    assert (made.best() is not None) == (outcome is None or outcome.trained)


def test_counts_name_every_outcome() -> None:
    made = board()
    assert made.counts() == "no trials yet"
    feed(made, *(trial(number, [0.5], outcome) for number, outcome in enumerate([*TrialOutcome, None])))
    assert made.counts() == (
        "8 trials: 1 complete, 1 pruned, 1 paused, 1 running, 1 queued, 1 repeated, 1 infeasible, 1 failed"
    )


def test_a_trial_that_is_resumed_runs_again() -> None:
    made = board()
    feed(made, trial(0, [0.5], TrialOutcome.PAUSED), trial(0, [], None))
    assert (made.rows[0].state, made.rows[0].epoch, made.rows[0].value) == ("running", 1, 0.5)


def test_a_trial_of_an_earlier_call_goes_on_in_its_row() -> None:
    made, stream = board(), io.StringIO()
    display = LineDisplay(stream)
    display.board = made
    feed(made, trial(5, [0.5, 0.6], TrialOutcome.PAUSED))
    for number, start, before in ((9, 2, 5), (9, 3, None)):
        display.event(TrialStarted(number, "candidate 5", 20_000, None, start, before))
    assert {number: (row.epoch, row.value) for number, row in made.rows.items()} == {9: (2, 0.6)}
    assert made.status() == "1 trial: 1 running · 1 promotion"
    assert stream.getvalue().splitlines() == [
        "trial 9   promoted  candidate 5, 20,000 parameters, after 2 epochs, until now trial 5",
        "trial 9   resumed   candidate 5, 20,000 parameters, after 3 epochs",
    ]


def test_the_status_tells_speed_and_time_left() -> None:
    clock = Clock()
    made = board(deadline=1090.0, clock=clock)
    feed(made, trial(0, [0.5, 0.6], None))
    clock.now += 20
    assert made.status() == "1 trial: 1 running · 5 images/s · 1 min 10 s left"
    clock.now += 1000
    assert made.status().endswith("0 s left")
    assert board(max_trials=9).status() == "no trials yet · until 9 trials"


def test_plain_lines() -> None:
    shown = io.StringIO()
    display = LineDisplay(shown)
    display.board = board(max_trials=3)
    for event in trial(7, [0.125], TrialOutcome.PAUSED):
        display.event(event)
    assert shown.getvalue().splitlines()[:3] == [
        "trial 7   starts    candidate 7, 20,000 parameters",
        "trial 7   epoch 1   12.50 %  (2.0 s)",
        "trial 7   paused    12.50 %  a reason",
    ]
    assert "best so far: trial 7, 12.50 %; 1 trial: 1 paused" in shown.getvalue()


def test_the_live_table_shows_every_outcome() -> None:
    assert set(STYLES) == {None, *TrialOutcome}
    made = board()
    feed(made, *(trial(number, [0.5], outcome) for number, outcome in enumerate([*TrialOutcome, None])))
    lines = drawn(made, 100)
    assert lines[0].split() == ["trial", "state", "epochs", "value", "parameters", "MACs", "candidate"]
    assert lines[1].split() == ["7", "running", "1/4", "50.00", "%", "20,000", "40.5M", "candidate", "7"]
    assert "best so far: trial 0, 50.00 % after 1 of 4 epochs" in lines


def drawn(made: Board, width: int) -> list[str]:
    """Lines of the live table in a terminal of so many columns."""
    stream = io.StringIO()
    Console(file=stream, width=width).print(render(made, width))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


WORDS = "resnet 16-72-72 basic, sgd one_cycle 0.375, batch 512, crop flip cutout 8, label smoothing 0.2, EMA 0.99"


@pytest.mark.parametrize("width", [60, 80, 89, 90, 100, 140])
def test_a_narrow_terminal_cuts_the_candidate_and_nothing_else(width: int) -> None:
    made = board()
    for event in trial(1234, [0.5, 0.25], TrialOutcome.INFEASIBLE):
        made.update(replace(event, summary=WORDS, parameters=4_999_999) if isinstance(event, TrialStarted) else event)
    head, row = drawn(made, width)[:2]
    macs = ["MACs"] if width >= 90 else []
    assert head.split() == ["trial", "state", "epochs", "value", "parameters", *macs, "candidate"]
    figures = ["1234", "infeasible", "2/4", "25.00", "%", "4,999,999", *(["40.5M"] if macs else [])]
    assert row.split()[: len(figures)] == figures
    candidate = row[head.index("candidate") :]
    assert candidate.startswith("resnet 16-7")
    assert candidate == WORDS or candidate.endswith("\N{HORIZONTAL ELLIPSIS}")
    assert len(row) == min(width, head.index("candidate") + len(WORDS))


def test_a_printed_command_stays_on_one_line() -> None:
    stream = io.StringIO()
    command = "continue   the same command again: python -m search.run --data 'my images' " + "--study a-long-name " * 6
    LiveDisplay(Console(file=stream, width=60, force_terminal=True)).say(command)
    assert stream.getvalue() == f"{command}\n"


def test_a_sentence_goes_on_below_its_beginning() -> None:
    said = "short       a full trial sees 4,096 images only, too few to tell networks apart; give it more time"
    assert folded(said, 60) == [
        "short       a full trial sees 4,096 images only, too few to",
        "            tell networks apart; give it more time",
    ]
    assert folded(f"            {'word ' * 12}end", 40)[0].startswith("            word")
    assert folded(said, len(said)) == [said]
    assert folded("", 60) == [""]


def test_the_live_table_stays_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    display = LiveDisplay(Console(file=stream, width=100, force_terminal=True, color_system=None))
    display.board = board()
    with display._drawing():
        for event in trial(3, [0.5], TrialOutcome.PAUSED):
            display.event(event)
    assert "paused" in stream.getvalue().rpartition("\x1b[2K")[2]


def test_the_display_is_chosen_by_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose_display(quiet=True), QuietDisplay)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert isinstance(choose_display(), LineDisplay)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert isinstance(choose_display(), LiveDisplay)
    assert isinstance(choose_display(verbose=True), LineDisplay)
    assert isinstance(choose_display(json=True), JsonDisplay)

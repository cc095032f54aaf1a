"""The ladder of rungs, the promotion policy on random learning curves, and what it sees of a study."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.engine.promotion import FIRST_ROUND, Decision, Done, Promote, Promotion, Start, Status, TrialView, Wait
from search.engine.scheduler import Limits, Scheduler
from search.engine.views import Views
from search.planning.plan import Plan
from search.planning.rungs import rungs, rungs_from_top
from search.study.attributes import CONTINUES, EPOCH_SECONDS, LAST_JOB, PAUSED, REPEAT_OF
from search.study.cached_storage import CachedStorage
from search.study.trials import epochs_of


@pytest.mark.parametrize(
    ("min_epochs", "max_epochs", "eta", "expected"),
    [
        (2, 51, 2, [2, 4, 7, 13, 26, 51]),
        (1, 9, 2, [1, 2, 3, 5, 9]),
        (2, 20, 4, [2, 5, 20]),
        (1, 243, 3, [1, 3, 9, 27, 81, 243]),
        (5, 5, 2, [5]),
        (1, 1, 2, [1]),
    ],
)
def test_rungs_from_top(min_epochs: int, max_epochs: int, eta: int, expected: list[int]) -> None:
    assert rungs_from_top(min_epochs, max_epochs, eta) == expected


@given(st.integers(1, 60), st.integers(0, 1000), st.integers(2, 6))
def test_rungs_from_top_divide_the_full_length(min_epochs: int, extra: int, eta: int) -> None:
    full = min_epochs + extra
    ladder = rungs_from_top(min_epochs, full, eta)
    assert ladder[-1] == full
    assert ladder[0] >= min_epochs
    assert all(low < high for low, high in pairwise(ladder))
    assert ladder == [math.ceil(full / eta**level) for level in reversed(range(len(ladder)))]
    assert ladder[0] == 1 or math.ceil(full / eta ** len(ladder)) < min_epochs  # no rung is missing below


@given(st.integers(0, 6), st.integers(1, 9), st.integers(2, 5))
def test_both_ladders_agree_on_powers(power: int, first: int, eta: int) -> None:
    full = first * eta**power
    assert rungs_from_top(first, full, eta) == rungs(first, full, eta)
    assert len(rungs(first, full, eta)) == power + 1


@dataclass
class Worked:
    """A trial of a simulated search."""

    curve: list[float]
    """Loss after each epoch; NaN where it diverges."""
    cost: float
    jobs: list[tuple[int, int]] = field(default_factory=list)
    status: Status = Status.PAUSED
    epochs: int = 0

    def view(self, number: int, ladder: Sequence[int]) -> TrialView:
        end = self.jobs[-1][1] if self.status is Status.RUNNING else self.epochs or 1  # one cut off counts
        losses = {rung: self.curve[rung - 1] for rung in ladder if rung <= self.epochs}
        return TrialView(number, self.status, end, losses, self.cost)

    def train(self) -> None:
        """To the end of the job, or until it diverges."""
        for _ in range(self.jobs[-1][1] - self.epochs):
            if math.isnan(self.curve[self.epochs]):
                self.status = Status.ENDED
                return
            self.epochs += 1
        self.status = Status.ENDED if self.epochs == len(self.curve) else Status.PAUSED


@dataclass
class Simulation:
    """A search by several workers, whose jobs end in a random order."""

    ladder: list[int]
    eta: int
    epochs: float
    trials: float
    workers: int
    seed: int
    diverging: float = 0.0
    """Share of the trials."""
    uneven: bool = False
    """Whether the epochs of trials differ in cost."""
    continued: int = 0
    """Trials of an earlier call, paused anywhere by its deadline."""
    worked: list[Worked] = field(default_factory=list)
    leftover: bool = False
    """Whether a trial was promoted that was not due."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.policy = Promotion(self.ladder, self.eta)
        for _ in range(self.continued):
            trial = self._new()
            trial.epochs = self.random.randint(1, self.ladder[-1] - 1)
            trial.curve = [0.5 if math.isnan(loss) else loss for loss in trial.curve]
            trial.jobs = [(0, trial.epochs)]
            self.worked.append(trial)
        self.before = self.spent

    def _new(self) -> Worked:
        full = self.ladder[-1]
        start, end = self.random.uniform(1, 2), self.random.random()
        curve = [end + start / epoch + self.random.gauss(0, 0.05) for epoch in range(1, full + 1)]
        if self.random.random() < self.diverging:
            first = self.random.randrange(full)
            curve[first:] = [math.nan] * (full - first)
        return Worked(curve, self.random.uniform(0.25, 4) if self.uneven else 1.0)

    @property
    def views(self) -> list[TrialView]:
        return [trial.view(number, self.ladder) for number, trial in enumerate(self.worked)]

    @property
    def spent(self) -> float:
        return sum(view.epochs * (view.cost or 1.0) for view in self.views)

    @property
    def running(self) -> list[Worked]:
        return [trial for trial in self.worked if trial.status is Status.RUNNING]

    def reached(self, rung: int) -> int:
        return sum(view.epochs >= rung for view in self.views)

    def decide(self) -> Decision:
        epochs_left = self.epochs - (self.spent - self.before)
        trials_left = self.trials - (len(self.worked) - self.continued)
        decision = self.policy.decide(self.views, epochs_left, trials_left)
        assert decision == self.policy.decide(self.views, epochs_left, trials_left)
        if not self.uneven:
            shuffled = self.random.sample(self.views, len(self.views))
            assert decision == self.policy.decide(shuffled, epochs_left, trials_left)
        return decision

    def follow(self, decision: Start | Promote) -> None:
        """Takes the decision, which must be possible."""
        before = self.spent
        if isinstance(decision, Start):
            trial = self._new()
            self.worked.append(trial)
        else:
            trial = self.worked[decision.number]
            assert trial.status is Status.PAUSED
            level = self.ladder.index(decision.epochs)
            wanted = max(1, len(self.worked) // self.eta**level)
            missing = wanted - self.reached(decision.epochs)
            self.leftover |= level > 0 and missing <= 0
            disputing = sum(t.jobs[-1][1] == self.ladder[level - 1] for t in self.running) if level else 0
            assert level == 0 or missing <= 0 or missing > disputing
        assert decision.epochs == min(rung for rung in self.ladder if rung > trial.epochs)
        known = trial.cost if isinstance(decision, Promote) else 1.0
        assert known * (decision.epochs - trial.epochs) <= self.epochs - (before - self.before) + 1e-9
        trial.jobs.append((trial.epochs, decision.epochs))
        trial.status = Status.RUNNING
        assert len(self.worked) - self.continued <= self.trials

    def run(self) -> Simulation:
        """Until the policy says that it is done."""
        for _ in range(10_000):
            decision: Decision = Wait()
            while len(self.running) < self.workers:
                decision = self.decide()
                if not isinstance(decision, Start | Promote):
                    break
                self.follow(decision)
            if isinstance(decision, Done):
                assert not self.running
                return self
            assert self.running, "waits for nothing"
            self.random.choice(self.running).train()
        raise AssertionError("does not end")


@st.composite
def simulations(draw: st.DrawFn, /, **fixed: object) -> Simulation:
    eta = draw(st.integers(2, 4))
    full = draw(st.integers(1, 30))
    ladder = rungs_from_top(draw(st.integers(1, full)), full, eta)
    limits = draw(st.sampled_from(("epochs", "trials", "both")))
    epochs = math.inf if limits == "trials" else draw(st.integers(0, 12 * full))
    trials = math.inf if limits == "epochs" else draw(st.integers(0, 30))
    chosen: dict[str, object] = {
        "epochs": epochs,
        "trials": trials,
        "workers": draw(st.integers(1, 4)),
        "seed": draw(st.integers(0, 2**32)),
        "diverging": draw(st.sampled_from((0.0, 0.3, 1.0))),
        "uneven": draw(st.booleans()),
        "continued": draw(st.integers(0, 3)) if full > 1 else 0,
    }
    return Simulation(ladder, eta, **{**chosen, **fixed})  # type: ignore[arg-type]


@given(simulations())
def test_every_search_ends_within_its_limits(simulation: Simulation) -> None:
    """Limits, next rungs, paused trials only, equal decisions and no deadlock are checked at each step."""
    simulation.run()
    for trial in simulation.worked:
        ends = [0, *(end for _, end in trial.jobs)]
        assert [start for start, _ in trial.jobs] == ends[:-1]  # without gap or repeat


@given(simulations(diverging=0.0, continued=0, uneven=False))
def test_few_are_promoted_before_epochs_are_left_over(simulation: Simulation) -> None:
    ladder, eta = simulation.ladder, simulation.eta
    follow = simulation.follow

    def checked(decision: Start | Promote) -> None:
        assert not (simulation.leftover and isinstance(decision, Start))  # what is left over pays for no other trial
        follow(decision)
        if not simulation.leftover:
            started = len(simulation.worked)
            for level, rung in enumerate(ladder):
                assert simulation.reached(rung) <= max(1, started // eta**level)

    simulation.follow = checked  # type: ignore[method-assign]
    simulation.run()
    assert not (simulation.leftover and simulation.epochs == math.inf)


@given(simulations(diverging=0.0, continued=0, epochs=math.inf, trials=20))
def test_with_trials_enough_every_rung_is_filled(simulation: Simulation) -> None:
    simulation.run()
    for level, rung in enumerate(simulation.ladder):
        assert simulation.reached(rung) == max(1, 20 // simulation.eta**level)


@given(simulations(diverging=0.0, continued=0, trials=math.inf, uneven=False), st.integers(1, 12))
def test_epochs_of_a_full_trial_give_a_complete_one(simulation: Simulation, full_trials: int) -> None:
    full = simulation.ladder[-1]
    simulation.epochs = float(full_trials * full)
    simulation.run()
    assert simulation.reached(full) >= 1
    assert simulation.epochs - simulation.spent < full  # less than a trial is left


@given(simulations(diverging=1.0, continued=0))
def test_trials_that_diverged_are_never_promoted(simulation: Simulation) -> None:
    simulation.run()
    for trial in simulation.worked:
        if trial.status is Status.ENDED:
            start, end = trial.jobs[-1]
            assert start <= trial.epochs < end


@given(st.integers(2, 4), st.integers(1, 3), st.integers(0, 2**32))
def test_trials_cut_off_before_the_first_rung_are_resumed_first(eta: int, count: int, seed: int) -> None:
    ladder = [8 * eta, 8 * eta**2]
    simulation = Simulation(ladder, eta, epochs=math.inf, trials=0, workers=1, seed=seed)
    for epochs in range(1, count + 1):
        trial = simulation._new()
        trial.epochs, trial.jobs = epochs, [(0, epochs)]
        simulation.worked.append(trial)
    simulation.continued = count
    assert simulation.decide() == Promote(0, ladder[0])
    simulation.run()
    assert simulation.reached(ladder[0]) == count


def test_the_first_round_starts_as_many_as_it_can_promote() -> None:
    simulation = Simulation([1, 2, 4, 8], 2, epochs=math.inf, trials=1000, workers=1, seed=0)
    while isinstance(decision := simulation.decide(), Start):
        simulation.follow(decision)
        simulation.worked[-1].train()
    started = len(simulation.worked)
    assert started == max(n for n in range(100) if n + n // 2 + 2 * (n // 4) + 4 * (n // 8) <= FIRST_ROUND * 8)
    best = min(simulation.views, key=lambda view: view.losses[1])
    assert decision == Promote(best.number, 2)


def test_the_worked_example_of_seven_trials() -> None:
    """What the module's docstring tells, step by step."""
    policy, budget = Promotion([1, 2, 4], 2), 1000
    first = [0.9, 0.5, 0.7, 0.4, 0.8, 0.6, 0.3, 1.0]
    later = {2: {6: 0.25, 3: 0.35, 1: 0.2}, 4: {1: 0.1}}
    trials: list[TrialView] = []
    told: list[Decision] = []
    while len(told) < 12:
        decision = policy.decide(trials, budget - sum(t.epochs for t in trials), math.inf)
        told.append(decision)
        if isinstance(decision, Start):
            trials.append(TrialView(len(trials), Status.PAUSED, 1, {1: first[len(trials)]}))
        elif isinstance(decision, Promote):
            losses = {**trials[decision.number].losses, decision.epochs: later[decision.epochs][decision.number]}
            status = Status.ENDED if decision.epochs == 4 else Status.PAUSED
            trials[decision.number] = TrialView(decision.number, status, decision.epochs, losses)
    assert told == [*[Start(1)] * 7, Promote(6, 2), Promote(3, 2), Promote(1, 2), Promote(1, 4), Start(1)]
    assert sum(t.epochs for t in trials[:7]) == FIRST_ROUND * 4


def test_a_promotion_waits_for_trials_that_may_be_better() -> None:
    policy = Promotion([1, 2, 4], 2)
    paused, other = TrialView(0, Status.PAUSED, 1, {1: 0.5}), TrialView(1, Status.RUNNING, 1)
    assert policy.decide([paused, other], math.inf, 0) == Wait()
    assert policy.decide([paused, replace(other, status=Status.PAUSED, losses={1: 0.4})], math.inf, 0) == Promote(1, 2)
    assert policy.decide([paused, replace(other, status=Status.ENDED)], math.inf, 0) == Promote(0, 2)


def test_a_round_ends_before_the_next_begins() -> None:
    policy = Promotion([1, 2, 4], 2)
    paused = [TrialView(number, Status.PAUSED, 1, {1: float(number)}) for number in range(6)]
    running = TrialView(6, Status.RUNNING, 1)  # of a round of seven: three of them are promoted to 2, one to 4
    assert policy.decide([*paused, running], math.inf, math.inf) == Promote(0, 2)
    going = [replace(view, status=Status.RUNNING, epochs=2) for view in paused[:2]]
    trials = [*going, *paused[2:], running]  # the last one may turn out to be the third
    assert policy.decide(trials, math.inf, 0) == Wait()
    assert policy.decide(trials, math.inf, math.inf) == Start(1)  # a free worker begins the next round meanwhile
    last = replace(running, status=Status.PAUSED, losses={1: 9.0})
    assert policy.decide([*going, *paused[2:], last], math.inf, math.inf) == Promote(2, 2)


ROW = Plan(2, 8, 2, 0, 0, 0, None, None, from_top=True)


def stored(
    attributes: dict[str, object] | None = None,
    *,
    state: TrialState = TrialState.RUNNING,
    reported: int = 0,
    excess: float = 0.0,
) -> FrozenTrial:
    """A trial with values after epochs 1 to `reported`; `excess` is above 0 where it exceeds its limit."""
    return create_trial(
        state=state,
        value=1.0 if state is TrialState.COMPLETE else None,
        intermediate_values={epoch: 1 / epoch for epoch in range(1, reported + 1)},
        user_attrs=attributes or {},
        system_attrs={"constraints:parameters": excess},
    )


def numbered(*trials: FrozenTrial) -> list[FrozenTrial]:
    for number, trial in enumerate(trials):
        trial.number = number
    return list(trials)


def test_the_policy_sees_feasible_distinct_trials_that_did_not_fail() -> None:
    pruned, complete, fail = TrialState.PRUNED, TrialState.COMPLETE, TrialState.FAIL
    trials = numbered(
        stored({LAST_JOB: [0, 2]}),
        stored(state=pruned, excess=7.0),
        stored({PAUSED: 2}, reported=2, excess=-7.0),
        stored(state=complete, reported=8),
        stored({REPEAT_OF: 3}, state=complete, reported=8),
        stored(state=fail, reported=3),
        stored({PAUSED: 4}, state=pruned, reported=5),  # interrupted after epoch 5, with a checkpoint of 4
        stored({CONTINUES: 6, LAST_JOB: [4, 8]}, reported=4),
        stored(state=TrialState.WAITING),
        stored({PAUSED: 0}, state=pruned, reported=3),  # diverged
        stored(),  # asked just now
        stored(state=fail),  # failed in its first epoch
    )
    seen = [facts.view for facts in Views(ROW, maximize=False, timed=False).look(trials).counting]
    assert [(v.number, v.status, v.epochs) for v in seen] == [
        (0, Status.RUNNING, 2),
        (2, Status.PAUSED, 2),
        (3, Status.ENDED, 8),
        (7, Status.RUNNING, 8),
        (9, Status.ENDED, 3),
        (10, Status.RUNNING, 2),
    ]
    assert seen[2].losses == {2: 1 / 2, 4: 1 / 4, 8: 1 / 8}
    turned = Views(ROW, maximize=True, timed=False).look(trials).counting[2].view
    assert turned.losses == {2: -1 / 2, 4: -1 / 4, 8: -1 / 8}
    assert epochs_of(trials[6], 2) == 4


def test_an_epoch_counts_by_its_seconds_where_time_is_limited() -> None:
    trials = numbered(
        stored({PAUSED: 2, EPOCH_SECONDS: 3.0}, reported=2),
        stored({PAUSED: 4, EPOCH_SECONDS: 1.0}, reported=6),
        stored({LAST_JOB: [0, 2]}),
    )
    seen = Views(ROW, maximize=False, timed=True).look(trials)
    assert [view.cost for view in seen.views] == [3.0, 1.0, None]
    assert seen.mean_seconds == (2 * 3 + 6 * 1) / 8
    assert seen.running_cost(1.5) == 2 * 1.5
    assert {view.cost for view in Views(ROW, maximize=False, timed=False).look(trials).views} == {1.0}


@pytest.mark.parametrize("durable", [False, True])
def test_what_was_seen_before_is_worked_out_again_only_where_a_trial_changed(durable: bool, workplace: Path) -> None:
    storage = CachedStorage(RDBStorage("sqlite:///study.db")) if durable else None
    study, watching = optuna.create_study(storage=storage), Views(ROW, maximize=False, timed=True)
    for number in range(3):
        trial = study.ask()
        for change in (
            lambda trial=trial: trial.report(0.5, 2),
            lambda trial=trial: trial.set_user_attr(EPOCH_SECONDS, 2.0),
            lambda trial=trial: trial.set_user_attr(PAUSED, 2),
            lambda trial=trial: study.tell(trial, state=TrialState.PRUNED),
        ):
            earlier = watching.look(study.get_trials(deepcopy=False)).counting
            change()
            trials = study.get_trials(deepcopy=False)
            seen, afresh = watching.look(trials), Views(ROW, maximize=False, timed=True).look(trials)
            assert seen.counting == afresh.counting
            assert seen.mean_seconds == pytest.approx(afresh.mean_seconds)
            assert all(now is before for now, before in zip(seen.counting[:number], earlier, strict=False))


def test_a_dear_trial_waits_where_the_rest_does_not_pay_for_it() -> None:
    policy = Promotion([1, 2, 4], 2)
    paused = TrialView(0, Status.PAUSED, 2, {1: 0.1, 2: 0.1}, cost=3.0)
    assert policy.decide([paused], 6.0, 0) == Promote(0, 4)
    assert policy.decide([paused], 5.9, 0) == Done()
    running = TrialView(1, Status.RUNNING, 1)
    assert policy.decide([replace(paused, cost=9.0), running], 5.9, 0) == Wait()


def test_a_worker_without_work_promotes_the_best_of_the_highest_rung_that_it_can_finish() -> None:
    policy = Promotion([1, 2, 4], 2)
    low = [TrialView(number, Status.PAUSED, 1, {1: 0.5 - number / 10}) for number in range(2)]
    high = TrialView(2, Status.PAUSED, 2, {1: 0.9, 2: 0.8})
    ended = TrialView(3, Status.ENDED, 4, {1: 0.1, 2: 0.1, 4: 0.1})
    assert policy.spare([*low, high, ended], 2.0) == Promote(2, 4)
    assert policy.spare([*low, high, ended], 1.0) == Promote(1, 2)
    assert policy.spare([*low, high, ended], 0.9) is None
    assert policy.spare([ended], 9.0) is None
    assert policy.spare([replace(high, cost=3.0), *low], 5.9) == Promote(1, 2)  # what it costs counts


@pytest.mark.parametrize(("limit", "decision"), [(None, Promote(1, 2)), (4, Wait())])
def test_only_where_time_alone_ends_a_search_is_more_promoted_than_is_due(
    limit: int | None, decision: Decision
) -> None:
    study, plan = optuna.create_study(direction="minimize"), Plan(1, 4, 2, 0, 0, 0, None, None)
    scheduler = Scheduler(study, plan, Limits(9.5, limit, workers=2), clock=lambda: 8.0, pauses=True)
    for number, value in enumerate((0.2, 0.3)):
        trial = study.ask()
        trial.report(value, 1)
        trial.set_user_attr(EPOCH_SECONDS, 1.0)
        trial.set_user_attr(PAUSED, 1)
        assert trial.number == number
    first = study.ask()  # the better one is being promoted
    first.set_user_attr(CONTINUES, 0)
    first.set_user_attr(LAST_JOB, [1, 2])
    first.set_user_attr(EPOCH_SECONDS, 1.0)
    first.report(0.2, 1)
    scheduler.begun(first.number, 1, 2)
    assert scheduler.decide() == decision

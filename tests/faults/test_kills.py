"""SIGKILL anywhere in a search, and anywhere in the writing of a checkpoint: no finished trial and no file is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import pytest
import sqlalchemy
import torch
from optuna.trial import FrozenTrial, TrialState

from cifar.checkpoint import load, save
from search.engine import ledger
from search.session import run_search
from search.settings import SearchSettings
from search.study.attributes import PAUSED, RETRY_OF, SEED
from search.study.study import find_study, require_study
from search.study.trials import counted, last_ones, reached
from tests.faults.processes import ended, forking
from tests.search_tests.logged_space import logged_space, trained

SAVING = """
import os, signal
from pathlib import Path
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class Candidate(OwnCandidate):
    def __init__(self, x):
        self.x = x
    def to_dict(self):
        return {"x": self.x}

class Saving(SearchSpace):
    direction = "minimize"
    uses_images = False
    max_epochs = 8
    resumable = True
    def suggest(self, trial):
        return Candidate(trial.suggest_float("x", 0, 1))
    def train(self, candidate, context):
        done = context.checkpoint.read_text() if context.checkpoint else "0"
        assert int(done) == context.epochs_done
        for epoch in range(context.epochs_done + 1, context.fidelity + 1):
            if epoch == 7 and not Path("killed").exists():
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            with open("trained.log", "a") as log:
                log.write(f"{epoch}\\n")
            yield EpochReport(epoch, candidate.x + 1 / epoch, save=lambda path: path.write_text(str(epoch)))

space = Saving()
"""
MOMENTS = 50
"""Places in a search at which it is killed, and writings of checkpoints that are."""
TRIALS = 6
BY_DEFAULT = {2, 14, 27, 40}  # the schema is made; a trial begins; one is paused; the last ones run


def search_until(settings: SearchSettings, statements: int, about: str, told: Connection[int, int]) -> None:
    """Searches, and kills itself before the database is told of something for the so-manieth time; tells how often."""
    count = Counter[str]()

    def before(_connection: object, _cursor: object, statement: str, values: object, *_: object) -> None:
        changes = not statement.lstrip().upper().startswith(("SELECT", "PRAGMA"))
        count["written"] += changes and about in f"{statement} {values}"
        if count["written"] == statements:
            os.kill(os.getpid(), signal.SIGKILL)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", before)
    run_search(settings)
    told.send(count["written"])


def searched(settings: SearchSettings, statements: int, about: str = "") -> tuple[int | None, int]:
    """How a search ended that was to be killed at a statement about something, and how many of those there were."""
    ours, theirs = Pipe(duplex=False)
    process = forking().Process(target=search_until, args=(settings, statements, about, theirs))
    process.start()
    theirs.close()
    code = ended(process)
    return code, ours.recv() if code == 0 else 0


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Statements that change the database in a whole search."""
    folder, before = tmp_path_factory.mktemp("whole"), Path.cwd()
    os.chdir(folder)
    try:
        code, count = searched(SearchSettings(space=logged_space(folder), max_trials=TRIALS), -1)
    finally:
        os.chdir(before)
    assert code == 0
    return count


def paused(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials that are to be continued; one that was cut off before its first rung begins again."""
    return [t for t in trials if t.user_attrs.get(PAUSED)]


def progress(trials: list[FrozenTrial]) -> dict[int, int]:
    """Epochs reported of each trial, by its seed, which a trial that resumes it shares."""
    found: dict[int, int] = {}
    for trial in trials:
        if SEED in trial.user_attrs:
            seed = trial.user_attrs[SEED]
            found[seed] = max(found.get(seed, 0), reached(trial))
    return found


@pytest.mark.parametrize(
    "moment", [n if n in BY_DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in range(MOMENTS)]
)
def test_a_search_that_is_killed_loses_no_finished_trial(moment: int, statements: int, workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=TRIALS)
    code, _ = searched(settings, 1 + moment * statements // MOMENTS)
    assert code == -signal.SIGKILL
    assert_goes_on(settings, workplace)


@pytest.mark.parametrize(
    "about",
    [
        pytest.param("INSERT INTO trial_user_attributes", id="between asking and the first attribute"),
        pytest.param("'paused'", id="between checkpoint and record"),
    ],
)
def test_a_search_that_is_killed_between_two_things_goes_on(about: str, workplace: Path) -> None:
    space = Path(logged_space(workplace))
    space.write_text(space.read_text().replace("1 / epoch)", "1 / epoch, save=lambda path: path.write_text('state'))"))
    settings = SearchSettings(space=str(space), max_trials=TRIALS)
    folder = settings.folder / "checkpoints"
    code, _ = searched(settings, 1, about)
    assert code == -signal.SIGKILL
    (trial,) = require_study(settings).trials  # which was asked for
    assert PAUSED not in trial.user_attrs
    seed = trial.user_attrs.get(SEED)
    assert {path.name for path in folder.glob("*")} == ({f"{seed:016x}-1.pt"} if about == "'paused'" else set())
    assert_goes_on(settings, workplace)
    waiting = {f"{t.user_attrs[SEED]:016x}-{t.user_attrs[PAUSED]}.pt" for t in paused(require_study(settings).trials)}
    assert {path.name for path in folder.glob("*")} <= waiting  # trials that went on count as paused, too


def test_a_trial_that_was_to_be_queued_again_is(workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=TRIALS)
    for about in ("INSERT INTO trial_intermediate_values", "WAITING"):  # in the first trial; before it is queued again
        code, _ = searched(settings, 1, about)
        assert code == -signal.SIGKILL
    (failed,) = require_study(settings).trials
    assert failed.state is TrialState.FAIL
    study = run_search(settings)
    assert counted(study.trials) == TRIALS
    assert [t.params for t in study.trials if t.user_attrs.get(RETRY_OF) == failed.number] == [failed.params]


def assert_goes_on(settings: SearchSettings, workplace: Path) -> None:
    """The next call ends the search that was killed; no finished trial is lost, and one at most is trained again."""
    begun = find_study(settings)
    before = begun.get_trials() if begun else []
    known = trained(workplace)
    study = run_search(settings)
    assert not study.get_trials(states=(TrialState.RUNNING,))
    assert counted(study.trials) == TRIALS
    for trial in before:
        now = study.trials[trial.number]
        if trial.state.is_finished() and not trial.user_attrs.get(PAUSED):
            assert (now.state, now.value, now.intermediate_values) == (
                trial.state,
                trial.value,
                trial.intermediate_values,
            )
    after = progress(study.trials)
    assert all(after.get(seed, 0) >= epochs for seed, epochs in progress(paused(before)).items())
    for trial in last_ones(study.trials):
        assert list(trial.intermediate_values) == list(range(1, reached(trial) + 1))
    again = {seed for (seed, _), times in trained(workplace).items() if times > 1}
    assert len(again) <= 1
    assert known.keys() <= trained(workplace).keys()


def search_saved_often(settings: SearchSettings) -> None:
    """Searches as if every epoch took as long as a trial may go unsaved."""
    ledger.UNSAVED_SECONDS = 0.0
    run_search(settings)


def test_long_trials_are_saved_between_rungs(workplace: Path) -> None:
    (workplace / "saving.py").write_text(SAVING)
    settings = SearchSettings(space="saving.py", max_trials=1)
    process = forking().Process(target=search_saved_often, args=(settings,))
    process.start()
    assert ended(process) == -signal.SIGKILL  # in the seventh epoch, on the way from the fourth to the eighth
    (saved,) = (settings.folder / "checkpoints").glob("*.pt")
    assert saved.read_text() == "6"
    study = run_search(settings)
    assert (workplace / "trained.log").read_text().split() == list("12345678")
    (trial,) = last_ones(study.trials)
    assert (trial.state, reached(trial)) == (TrialState.COMPLETE, 8)
    assert not saved.exists()


def write_without_end(folder: Path, began: Connection[int, int]) -> None:
    """Writes checkpoints of a megabyte, one after the other."""
    weights = torch.zeros(250_000)
    for epoch in range(1, 1_000_000):
        save(folder / f"{epoch % 4}.pt", {"weights": weights + epoch, "epoch": epoch})
        began.send(epoch)


@pytest.mark.parametrize(
    "moment", [n if n % 20 == 0 else pytest.param(n, marks=pytest.mark.slow) for n in range(MOMENTS)]
)
def test_every_checkpoint_that_is_there_can_be_read(moment: int, tmp_path: Path) -> None:
    ours, theirs = Pipe(duplex=False)
    process = forking().Process(target=write_without_end, args=(tmp_path, theirs))
    process.start()
    theirs.close()
    last = [ours.recv() for _ in range(1 + moment % 7)][-1]
    ours.poll(moment / MOMENTS * 0.02)  # somewhere in the next writing, or after it
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    written = [load(path) for path in tmp_path.glob("*.pt")]
    assert written
    assert all(bool((state["weights"] == state["epoch"]).all()) for state in written)
    assert max(state["epoch"] for state in written) >= last

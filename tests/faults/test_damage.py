"""Damaged stores and checkpoints: told in one line with what to do, and what was copied can be put in their place."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.backup import COPIES, COPY_SECONDS, EARLIER, NEWEST, Copies
from search.study.study import require_study
from search.study.trials import counted
from tests.search_tests.logged_space import logged_space

PAGE = 4096
BY_DEFAULT = {"cut off 1", "random bytes 0", "zeros 2", "no database"}


def cut_off(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(1, path.stat().st_size)])


def overwrite(path: Path, draw: random.Random, content: Callable[[int], bytes]) -> None:
    """Other content in a third of the pages, that of the schema among them."""
    data = bytearray(path.read_bytes())
    pages = range(1, len(data) // PAGE)
    for page in (0, *draw.sample(pages, len(pages) // 3)):
        start = page * PAGE + (100 if page == 0 else 0)  # the file's own header stays
        data[start : (page + 1) * PAGE] = content((page + 1) * PAGE - start)
    path.write_bytes(data)


def random_bytes(path: Path, draw: random.Random) -> None:
    overwrite(path, draw, draw.randbytes)


def zeros(path: Path, draw: random.Random) -> None:
    overwrite(path, draw, bytes)


def one_page(path: Path, draw: random.Random) -> None:
    """A page of the database appears a second time, in place of another."""
    data = path.read_bytes()
    one, other = draw.sample(range(1, len(data) // PAGE), 2)
    page = data[one * PAGE : (one + 1) * PAGE]
    path.write_bytes(data[: other * PAGE] + page + data[(other + 1) * PAGE :])


def broken_json(path: Path, draw: random.Random) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE study_user_attributes SET value_json = substr(value_json, 1, 1) || '{'")
        database.commit()


Damage = Callable[[Path, random.Random], object]
DAMAGES: dict[str, Damage] = {
    "cut off": cut_off,
    "random bytes": random_bytes,
    "zeros": zeros,
    "a page twice": one_page,
}
STORES: dict[str, tuple[Damage, int]] = {
    f"{name} {n}": (damage, n) for name, damage in DAMAGES.items() for n in range(7)
}
STORES |= {f"broken json {n}": (broken_json, n) for n in range(2)}
STORES |= {"no database": (lambda path, draw: path.write_bytes(b"not a database" * 1000), 0)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of six trials and its copies, made once."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        logged_space(folder)
        settings = SearchSettings(space="logged.py", max_trials=6)
        run_search(settings)
        study = run_search(settings)  # which copies what it finds
        assert counted(study.trials) == 6
    with closing(sqlite3.connect(folder / settings.folder / "study.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what is damaged is not in the log as well
    return folder


@pytest.mark.parametrize("name", [n if n in BY_DEFAULT else pytest.param(n, marks=pytest.mark.slow) for n in STORES])
def test_a_damaged_store_is_told_and_its_copy_goes_on(name: str, whole: Path, workplace: Path) -> None:
    shutil.copytree(whole, workplace, dirs_exist_ok=True)
    settings = SearchSettings(space="logged.py", max_trials=8)
    database, newest = settings.folder / "study.db", settings.folder / COPIES / NEWEST
    damage, seed = STORES[name]
    damage(database, random.Random(seed))
    with pytest.raises(StudyError) as caught:
        run_search(settings)
    assert "\n" not in str(caught.value)
    assert f"copy {newest} to {database}" in str(caught.value) or "see docs/reliability.md" in str(caught.value)
    for path in settings.folder.glob("study.db*"):
        path.unlink()
    shutil.copy(newest, database)
    study = run_search(settings)
    assert counted(study.trials) == 8


def test_copies_are_made_now_and_then_and_the_one_before_stays(workplace: Path) -> None:
    settings, now = SearchSettings(space=logged_space(workplace), max_trials=2), [0.0]
    study = run_search(settings)
    copies = Copies(study, settings.folder, lambda: now[0])
    for number in range(3):
        study.set_user_attr("copied", number)
        now[0] += COPY_SECONDS
        copies.update()
        study.set_user_attr("copied", "too soon")
        copies.update()
    kept = [settings.folder / COPIES / name for name in (EARLIER, NEWEST)]
    held = [require_study(replace(settings, study="logged", storage=f"sqlite:///{path}")) for path in kept]
    assert [study.user_attrs["copied"] for study in held] == [1, 2]


def test_a_study_elsewhere_has_no_copies(workplace: Path) -> None:
    settings = SearchSettings(space=logged_space(workplace), max_trials=2, storage="s.journal")
    run_search(settings)
    run_search(settings)
    assert not (settings.folder / COPIES).exists()
    assert require_study(settings)

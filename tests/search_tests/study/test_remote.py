"""Checkpoints at a URL: whole or absent, waited for while the store is away, refused in one line."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem

from cifar.checkpoint import load, save
from cifar.errors import CheckpointError
from search.cli import run_command
from search.engine.events import TrialNoted
from search.run import main as run_main
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CONTINUES, PAUSED, SEED
from search.study.checkpoints import bytes_of_checkpoints, checkpoint_folder_of, checkpoint_of
from search.study.leftovers import leftovers
from search.study.remote import RemotePath, StoreError, local_copy, place_of, written_to
from search.study.study import require_study
from search.study.trials import is_paused, reached
from tests.search_tests.logged_space import Watched

Settings = Callable[..., SearchSettings]


@pytest.fixture
def bucket(workplace: Path) -> RemotePath:
    """A store that other processes see too, by fsspec's own file system."""
    (workplace / "bucket").mkdir()
    return RemotePath(f"file://{workplace}/bucket")


def test_a_file_in_a_store_is_written_read_listed_and_removed(bucket: RemotePath) -> None:
    sent: RemotePath = pickle.loads(pickle.dumps(bucket / "toy"))
    sent.make_folder()
    sent.make_folder()
    with written_to(checkpoint_of(sent, 1, 2)) as file:
        save(file, {"a": 1})
    assert [path.name for path in sent.glob("*.pt")] == [f"{1:016x}-2.pt"]
    (there,) = sent.glob(f"{1:016x}*.pt")
    assert there.exists()
    assert there.stat().st_size == sent.sizes()[there.name] > 0
    with local_copy(there) as copy:
        assert load(copy) == {"a": 1}
    assert not copy.exists()
    there.unlink()
    there.unlink(missing_ok=True)
    assert not there.exists()
    assert not (sent / "nowhere").glob("*")
    with local_copy(there) as copy, pytest.raises(CheckpointError, match="must exist"):
        load(copy)


def test_an_upload_that_is_cut_off_leaves_what_was_there(bucket: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    place = bucket / "state.pt"
    with written_to(place) as file:
        save(file, {"a": 1})

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalFileSystem, "mv", killed)
    with pytest.raises(KeyboardInterrupt), written_to(place) as file:
        save(file, {"a": 2})
    with local_copy(place) as copy:
        assert load(copy) == {"a": 1}
    assert len(bucket.glob(".state.pt.*.tmp")) == 1


def test_a_store_that_is_away_for_a_while_is_waited_for(bucket: RemotePath, monkeypatch: pytest.MonkeyPatch) -> None:
    put, tries = LocalFileSystem.put_file, []

    def away_twice(store: LocalFileSystem, *given: Any) -> None:
        tries.append(given)
        if len(tries) < 3:
            raise ConnectionError("no route to host")
        put(store, *given)

    monkeypatch.setattr(LocalFileSystem, "put_file", away_twice)
    with written_to(bucket / "state.pt") as file:
        save(file, {"a": 1})
    assert len(tries) == 3
    assert (bucket / "state.pt").exists()
    monkeypatch.setattr("search.study.retrying.OUTAGE_SECONDS", 0.0)
    tries.clear()
    with pytest.raises(StoreError, match=r"must be reachable.*ConnectionError: no route to host"):
        (bucket / "state.pt").upload(Path(__file__))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (
            "nonsense://b/c",
            "error: --checkpoints must be a folder or a URL that fsspec knows; got Protocol not known: ",
        ),
        (
            "az://b/c",
            "error: checkpoints at az:// need a package for that store; got not installed. pip install adlfs.",
        ),
        (
            "s3://me:s3cret@b/c",
            "error: --checkpoints is stored with the study, so it must hold no password; got s3://me",
        ),
        (
            "file:///nowhere/at/all",
            "error: --checkpoints must be a folder in a bucket that exists; got no file:///nowhere",
        ),
    ],
)
def test_a_store_that_cannot_be_used_is_one_line(
    url: str, told: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    line = [
        "--space",
        "resnet_budget30k",
        "--data",
        str(toy),
        "--trials",
        "1",
        "--max-epochs",
        "1",
        "--val-size",
        "100",
    ]
    assert run_command(run_main, [*line, "--quiet", "--checkpoints", url]) == 2
    err = capfd.readouterr().err
    assert err.startswith(told)
    assert err.count("\n") == 1
    assert "s3cret" not in err


def test_a_study_continues_from_a_store(toy_search: Settings, bucket: RemotePath, workplace: Path) -> None:
    settings = toy_search(max_trials=1, max_epochs=2, epoch_budget=1, train_size=64, checkpoints=bucket.url)
    study = run_search(settings)
    (trial,) = (t for t in study.trials if is_paused(t))
    folder = checkpoint_folder_of(study, replace(settings, checkpoints=None))
    assert folder == bucket / "toy"
    (kept,) = folder.glob("*.pt")
    assert kept.name == f"{trial.user_attrs[SEED]:016x}-{trial.user_attrs[PAUSED]}.pt"
    assert bytes_of_checkpoints(study, settings.folder) == kept.stat().st_size
    assert not leftovers(study, folder, own=False)
    assert not (settings.folder / "checkpoints").exists()
    (workplace / "bucket").rename(workplace / "away")
    for given in (None, f"file://{workplace}"):  # another host, or a mistaken address
        with pytest.raises(StudyError, match=r"checkpoints must be there.*--checkpoints"):
            run_search(replace(settings, epoch_budget=None, checkpoints=given))
    (workplace / "away").rename(workplace / "bucket")
    watched = Watched()
    study = run_search(replace(settings, checkpoints=None, epoch_budget=None), engine=watched)
    (resumed,) = (t for t in study.trials if CONTINUES in t.user_attrs)
    assert (reached(resumed), watched.epochs) == (2, 1)
    assert not folder.glob("*.pt")
    assert list((settings.folder / "models").glob("trial-*/weights.pt"))


@pytest.mark.slow
def test_damage_in_a_store_is_found(toy_search: Settings, bucket: RemotePath, workplace: Path) -> None:
    settings = toy_search(max_trials=1, max_epochs=2, epoch_budget=1, train_size=64, checkpoints=bucket.url)
    run_search(settings)
    (path,) = (workplace / "bucket/toy").glob("*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    watched = Watched()
    study = run_search(replace(settings, epoch_budget=None), engine=watched)
    (note,) = (e for e in watched.events if isinstance(e, TrialNoted))
    assert note.text.startswith("its checkpoint is lost: ")
    assert "checksum" in note.text
    assert any(reached(t) == 2 for t in study.trials)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server on loopback that speaks as S3, with a bucket."""
    pytest.importorskip("s3fs", reason="no S3 to write to: pip install s3fs 'moto[s3,server]'")
    moto = pytest.importorskip("moto.server", reason="no server that speaks as S3: pip install 'moto[s3,server]'")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    bucket = "import s3fs; s3fs.S3FileSystem().makedirs('runs', exist_ok=True)"
    subprocess.run([sys.executable, "-c", bucket], check=True)
    try:
        yield "s3://runs/team"
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.ray)])
def test_commands_on_two_hosts_go_on_from_s3(engine: str, s3: str, toy: Path, workplace: Path) -> None:
    line = ["--space", "resnet_budget30k", "--data", str(toy), "--val-size", "100", "--train-size", "64", "--quiet"]
    line += ["--storage", f"sqlite:///{workplace}/study.db", "--max-epochs", "2", "--trials", "2", "--engine", engine]
    begin = [sys.executable, "-m", "search.run", *line]
    hosts = [workplace / name for name in ("first", "second")]
    for host in hosts:
        host.mkdir()
    first = subprocess.run([*begin, "--epoch-budget", "1", "--checkpoints", s3], cwd=hosts[0], env=os.environ)
    assert first.returncode == 0
    settings = SearchSettings(space="resnet_budget30k", storage=f"sqlite:///{workplace}/study.db")
    study = require_study(settings)
    paused = [t for t in study.trials if is_paused(t)]
    folder = place_of(s3) / "resnet_budget30k"
    assert isinstance(folder, RemotePath)
    assert {p.name for p in folder.glob("*.pt")} >= {
        f"{t.user_attrs[SEED]:016x}-{t.user_attrs[PAUSED]}.pt" for t in paused
    }
    assert paused
    second = subprocess.run(begin, cwd=hosts[1], env=os.environ)
    assert second.returncode == 0
    study = require_study(settings)
    assert any(CONTINUES in t.user_attrs for t in study.trials)
    assert not any(path.suffix == ".pt" and "checkpoints" in path.parts for path in workplace.rglob("*"))
    bad = [*begin, "--study", "other", "--checkpoints", "s3://nowhere/at/all"]
    refused = subprocess.run(bad, cwd=hosts[1], env=os.environ, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1

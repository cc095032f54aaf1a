"""The dashboard, over HTTP and in a real browser; foreign pages are refused."""

from __future__ import annotations

import http.client
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from cifar.data.toy import toy_npz
from cifar.runtime.threads import one_thread
from search.cli import run_command
from search.dashboard import guarded, main, make_server
from search.reporting.dashboard_artifacts import ARTIFACTS, CONFUSION, RunArtifacts, confusion_picture
from search.reporting.dashboard_view import DashboardView
from search.retrain import main as retrain_main
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.attributes import CANDIDATE, EPOCH_SECONDS, PAUSED, REASON
from search.study.study import require_study, stored_plan
from tests.browser import Browser


@contextmanager
def served(settings: SearchSettings) -> Iterator[str]:
    """Address of the study's page while the block runs."""
    server, url = make_server(settings, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


def serve(settings: SearchSettings, ask: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What a question to the study's page gives."""
    with served(settings) as address:
        return ask(address)


@pytest.fixture
def address(curves: str) -> Iterator[str]:
    settings = SearchSettings(space=curves, study="shown", max_trials=6)
    run_search(settings)
    with served(settings) as url:
        yield url


def trials_at(address: str) -> list[dict[str, Any]]:
    """The trials as the dashboard's page gets them."""
    status, body = request(address, "GET", f"/api/studies/{address.rsplit('/', 1)[1]}?after=0")
    assert status == 200
    found: list[dict[str, Any]] = json.loads(body)["trials"]
    return found


def request(address: str, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.request(method, path, body, headers={"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def test_it_serves_the_study(address: str) -> None:
    status, body = request(address, "GET", "/api/studies")
    assert status == 200
    assert [s["study_name"] for s in json.loads(body)["study_summaries"]] == ["shown"]


def test_foreign_pages_cannot_change_anything(address: str) -> None:
    number = address.rsplit("/", 1)[1]
    status, body = request(address, "DELETE", f"/api/studies/{number}", Origin="http://evil.example")
    assert (status, b"refused" in body) == (403, True)
    assert request(address, "DELETE", f"/api/studies/{number}", Origin="null")[0] == 403
    assert request(address, "GET", "/api/studies", Host="evil.example")[0] == 403
    assert len(require_study(SearchSettings(study="shown")).trials) == 6
    own = f"http://{urlsplit(address).netloc}"
    assert request(address, "DELETE", f"/api/studies/{number}", Origin=own)[0] == 204


FOREIGN = [
    {"Referer": "http://evil.example/page"},
    {"Referer": "http://[evil"},
    {"Referer": ""},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another port of this machine
    {"Origin": "http://[evil"},
]
NAMES = ["evil@localhost", "[", "[::1", "localhost:x", "localhost.evil.example", "127.0.0.1.evil.example", ""]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("headers", FOREIGN)
def test_whatever_names_another_page_is_refused(method: str, headers: dict[str, str]) -> None:
    assert asked(method, "127.0.0.1:80", headers) == "403 Forbidden"
    assert asked("GET", "127.0.0.1:80", headers) == "200 OK"


@pytest.mark.parametrize("name", NAMES)
def test_a_loopback_server_answers_to_its_own_names_only(name: str) -> None:
    assert asked("GET", name) == "403 Forbidden"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]:80", "[::1]"])
def test_the_dashboard_s_own_page_may_change_the_study(name: str) -> None:
    own = {"Origin": f"http://{name}", "Referer": f"http://{name}/dashboard", "Sec-Fetch-Site": "same-origin"}
    assert asked("POST", name) == "200 OK"  # a program, which sends nothing of the kind
    assert asked("POST", name, own) == "200 OK"
    assert asked("POST", name, own, read_only=True) == "403 Forbidden"
    assert asked("GET", name, read_only=True) == "200 OK"


def test_no_path_leads_out_of_the_dashboard(address: str, workplace: Path) -> None:
    (workplace / "secret.txt").write_text("s3cret")
    (workplace / "studies/secret.txt").write_text("s3cret")
    study, up = address.rsplit("/", 1)[1], ("../", "..%2f", "%2e%2e/", "..\\", "....//")
    for base in ("/", "/static/", "/dashboard/", "/api/", f"/artifacts/{study}/", f"/artifacts/{study}/1/"):
        for path in (
            *(f"{base}{step * depth}secret.txt" for step in up for depth in range(1, 7)),
            f"{base}/etc/passwd",
        ):
            status, body = request(address, "GET", path)
            assert status < 500, path
            assert b"s3cret" not in body, path
            assert b"root:" not in body, path
    upload = json.dumps({"file": "data:text/plain;base64,bWluZQ==", "filename": "../../../outside.txt"})
    assert request(address, "POST", f"/api/artifacts/{study}", upload)[0] == 201
    assert not list(workplace.rglob("outside*"))


def in_wsgi(headers: dict[str, str]) -> dict[str, str]:
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def asked(method: str, name: str, headers: dict[str, str] | None = None, *, read_only: bool = False) -> str:
    """Status of a request to an application that answers all."""
    statuses: list[str] = []

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [])
        return []

    guard = guarded(application, only_loopback=True, read_only=read_only)
    guard(
        {"REQUEST_METHOD": method, "HTTP_HOST": name, **in_wsgi(headers or {})},
        lambda status, headers: statuses.append(status),
    )
    (status,) = statuses
    return status


def test_other_machines_reach_it_only_where_that_is_asked_for(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(main, ["--study", "shown", "--host", "0.0.0.0"]) == 2
    assert capsys.readouterr().err == (
        "error: --host must be this machine's loopback: there is no password; got 0.0.0.0. Add --public if everybody "
        "who reaches that address may see the study, and change it without --read-only.\n"
    )
    assert run_command(main, ["--study", "shown", "--host", "0.0.0.0", "--public"]) == 2  # there is no such study
    warning, error = capsys.readouterr().err.splitlines()
    assert warning.startswith("warning: there is no password: everybody who reaches 0.0.0.0 can see, change and delete")
    assert "the study must exist" in error


LIMITED = """
from cifar.networks.complexity import Cost
from spaces.base import EpochReport, OwnCandidate, SearchSpace

class C(OwnCandidate):
    def __init__(self, x):
        self.x, self.cost = x, Cost(x, 1)
    def to_dict(self):
        return {"x": self.x, "long": "x" * 5000}
    summary = property(lambda self: f"network of {self.x}")

class S(SearchSpace):
    uses_images = False
    max_epochs = 4
    param_budget = 50
    def suggest(self, trial):
        return C(trial.suggest_int("x", 1, 100))
    def train(self, candidate, context):
        for epoch in range(1, context.fidelity + 1):
            yield EpochReport(epoch, float(candidate.x))

space = S()
"""


def test_trials_are_shown_in_words(workplace: Path) -> None:
    (workplace / "limited.py").write_text(LIMITED)
    settings = SearchSettings(space="limited.py", study="shown", max_trials=4, sampler="random")
    stored = run_search(settings)
    shown = serve(settings, lambda address: trials_at(address))
    assert len(shown) == len(stored.trials)
    for trial, found in zip(stored.trials, shown, strict=True):
        attributes = {one["key"]: one["value"] for one in found["user_attrs"]}
        x = trial.params["x"]
        assert trial.user_attrs[CANDIDATE]["x"] == x  # what is stored stays as it was
        assert attributes[CANDIDATE] == f"network of {x}"
        assert max(map(len, attributes.values())) < 200
        assert (max(found["constraints"]) > 0) == (x > 50)
        assert f"`network of {x}`" in found["note"]["body"]
        assert ("infeasible: " in found["note"]["body"]) == (x > 50)
    assert any(max(found["constraints"]) > 0 for found in shown)
    assert any("paused: " in found["note"]["body"] for found in shown)


def test_a_note_of_a_person_stays(curves: str) -> None:
    settings = SearchSettings(space=curves, study="shown", max_trials=1)
    run_search(settings)

    def write(address: str) -> list[dict[str, Any]]:
        (trial,) = trials_at(address)
        path = f"/api/studies/{address.rsplit('/', 1)[1]}/{trial['trial_id']}/note"
        own = f"http://{urlsplit(address).netloc}"
        body = json.dumps({"body": "mine", "version": trial["note"]["version"] + 1})
        assert request(address, "PUT", path, body, Origin=own)[0] == 204
        return trials_at(address)

    assert serve(settings, write)[0]["note"]["body"] == "mine"
    assert serve(settings, trials_at)[0]["note"]["body"] == "mine"


def test_paused_trials_do_not_run(workplace: Path) -> None:
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    trial.report(0.5, 1)
    for key, value in {PAUSED: 2, EPOCH_SECONDS: 3.0, REASON: ""}.items():
        trial.set_user_attr(key, value)
    study.ask()
    first, second = DashboardView(storage, 0, RunArtifacts(workplace)).get_all_trials(0)
    assert (first.state, second.state) == (TrialState.PRUNED, TrialState.RUNNING)
    assert first.datetime_start is not None
    assert first.datetime_complete is not None
    assert (first.datetime_complete - first.datetime_start).total_seconds() == 6.0
    assert study.trials[0].state is TrialState.RUNNING


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with the study `toy` of toy images, whose best trial was retrained."""
    place = tmp_path_factory.mktemp("retrained")
    data = toy_npz(place / "toy.npz", train=200, test=50, size=16)
    with pytest.MonkeyPatch.context() as patch, one_thread():
        patch.chdir(place)
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        few = {"max_trials": 2, "max_epochs": 2, "val_size": 60, "mac_budget": 3_000_000, "device": "cpu"}
        run_search(SearchSettings("resnet_budget30k", study="toy", data=str(data), **few))  # type: ignore[arg-type]
        retrain_main(["--study", "toy", "--epochs", "1", "--device", "cpu", "--out", "studies/toy/runs/final"])
    return place


def test_a_retrained_trial_has_its_files(retrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(retrained)
    with served(SearchSettings(study="toy")) as address:
        study = address.rsplit("/", 1)[1]
        trials = trials_at(address)
        (trial,) = (one for one in trials if one["artifacts"])
        assert "trained in full, `runs/final`: " in trial["note"]["body"]
        assert [one["filename"] for one in trial["artifacts"]] == ["final, confusion matrix.svg", "final, report.html"]
        picture, page = (
            request(address, "GET", f"/artifacts/{study}/{trial['trial_id']}/{one['artifact_id']}")
            for one in trial["artifacts"]
        )
        counted = ElementTree.fromstring(picture[1]).iterfind(".//*[@text-anchor='middle']")
        counts = [int(one.text or "") for one in counted]
        assert (picture[0], page[0], sum(counts)) == (200, 200, 50)
        assert page[1] == (retrained / "studies/toy/runs/final/report.html").read_bytes()
    stored = require_study(SearchSettings(study="toy")).trials
    assert not any(key.startswith("artifacts:") for one in stored for key in one.system_attrs)


def test_rungs_are_a_figure_of_the_study(retrained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(retrained)
    with served(SearchSettings(study="toy")) as address:
        status, body = request(address, "GET", f"/api/studies/{address.rsplit('/', 1)[1]}?after=0")
    (figure,) = json.loads(body)["plotly_graph_objects"]
    drawn = json.loads(figure["graph_object"])
    assert (status, figure["id"]) == (200, "rungs")
    assert "var(" not in figure["graph_object"]
    assert len(drawn["layout"]["shapes"]) == len(stored_plan(require_study(SearchSettings(study="toy"))).rungs) - 1


def test_deleting_a_study_keeps_its_runs(workplace: Path, retrained: Path) -> None:
    shutil.copytree(retrained / "studies", workplace / "studies")
    with served(SearchSettings(study="toy")) as address:
        upload = json.dumps({"file": "data:text/plain;base64,bWluZQ==", "filename": "mine.txt"})
        study = address.rsplit("/", 1)[1]
        assert request(address, "POST", f"/api/artifacts/{study}", upload)[0] == 201
        assert [path.read_text() for path in Path("studies/toy", ARTIFACTS).iterdir()] == ["mine"]
        body = json.dumps({"remove_associated_artifacts": True})
        assert request(address, "DELETE", f"/api/studies/{study}", body)[0] == 204
    assert list(Path("studies/toy", ARTIFACTS).iterdir()) == []
    assert Path("studies/toy/runs/final", CONFUSION).exists()


@given(st.integers(1, 25), st.data())
def test_confusion_pictures_are_sound(count: int, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(["cat", "<b>", '"&', "\u00e9"]), min_size=count, max_size=count))
    line = st.lists(st.integers(0, 3), min_size=count, max_size=count)
    counts = data.draw(st.lists(line, min_size=count, max_size=count))
    root = ElementTree.fromstring(confusion_picture(names, counts))
    cells = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in one.attrib]
    shares = [float(cell.attrib["fill-opacity"]) for cell in cells]
    assert len(shares) == count**2
    for row, images in enumerate(counts):
        assert sum(shares[row * count : (row + 1) * count]) == pytest.approx(1.0 if sum(images) else 0.0, abs=0.02)


@pytest.mark.slow
def test_a_browser_shows_files_and_figure(retrained: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(retrained)
    with served(SearchSettings(study="toy")) as address:
        assert "dotted lines are rungs" in browser.open(address).dom
        assert "confusion matrix.svg" in browser.open(f"{address}/trials").dom


def test_a_browser_shows_the_study(address: str, browser: Browser) -> None:
    page = browser.open(address).dom
    assert "shown" in page
    assert "Hyperparameter Importance" in page or "History" in page


def test_a_port_in_use_is_told(address: str) -> None:
    port = urlsplit(address).port
    assert port is not None
    with pytest.raises(StudyError, match="must be free to listen on"):
        make_server(SearchSettings(study="shown"), "127.0.0.1", port)

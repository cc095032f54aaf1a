"""The dashboard, over HTTP and in a real browser; foreign pages are refused."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from search.dashboard import make_server
from search.session import run_search
from search.settings import SearchSettings, StudyError
from search.study.study import require_study
from tests.browser import Browser


@pytest.fixture
def address(curves: str) -> Iterator[str]:
    settings = SearchSettings(space=curves, study="shown", max_trials=6)
    run_search(settings)
    server, url = make_server(settings, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


def request(address: str, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    parts = urlsplit(address)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port)
    connection.request(method, path, headers={"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


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


def test_a_browser_shows_the_study(address: str, browser: Browser) -> None:
    page = browser.open(address).dom
    assert "shown" in page
    assert "Hyperparameter Importance" in page or "History" in page


def test_a_port_in_use_is_told(address: str) -> None:
    port = urlsplit(address).port
    assert port is not None
    with pytest.raises(StudyError, match="must be free to listen on"):
        make_server(SearchSettings(study="shown"), "127.0.0.1", port)

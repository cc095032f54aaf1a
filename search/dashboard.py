"""`python -m search.dashboard`: Optuna's dashboard on a study, guarded against other web pages.

The stock dashboard has no authentication, and any page open in the same browser can tell it to delete a study.
Here requests that change something must come from the dashboard's own page, by all that the browser says of where they
come from, and a loopback server answers to its own name only (a foreign name that resolves to 127.0.0.1 is refused).
Another address than loopback needs `--public`, since whoever reaches it may read and change everything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from search.cli import Parser, port, run_command
from search.settings import SearchSettings, StudyError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def parser() -> Parser:
    """The command's options."""
    p = Parser(
        "dashboard",
        "Show a study in Optuna's dashboard, on this machine only unless --host says otherwise.",
        ("--study pictures", "--port 0"),
    )
    p.add_study_options()
    p.add_argument("--host", default="127.0.0.1", help="address to listen on")
    p.add_argument(
        "--public", action="store_true", help="allow a --host that other machines reach: there is no password"
    )
    p.add_argument("--read-only", action="store_true", help="refuse every request that would change the study")
    p.add_argument("--port", type=port, default=8080, help="port to listen on; 0 takes a free one")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses and serves until Ctrl-C."""
    args = parser().parse_args(argv)
    if args.host not in LOOPBACK:
        _warn_of_strangers(args.host, allowed=args.public, read_only=args.read_only)
    settings = SearchSettings(study=args.study, storage=args.storage)
    server, address = make_server(settings, args.host, args.port, read_only=args.read_only)
    print(f"{address}\nCtrl-C ends it", flush=True)
    with server:
        server.serve_forever()


def _warn_of_strangers(host: str, *, allowed: bool, read_only: bool) -> None:
    """Says what others may do at an address that they reach.

    Raises:
        StudyError: that was not allowed.
    """
    if not allowed:
        raise StudyError(
            "--host must be this machine's loopback: there is no password",
            got=host,
            remedy="Add --public if everybody who reaches that address may see the study, and change it without "
            "--read-only",
        )
    may = "see the study" if read_only else "see, change and delete the study; --read-only lets them see it alone"
    print(f"warning: there is no password: everybody who reaches {host} can {may}", file=sys.stderr, flush=True)


def make_server(settings: SearchSettings, host: str, port: int, *, read_only: bool = False) -> tuple[WSGIServer, str]:
    """A server that listens already, and the address of the study's page.

    Args:
        settings: name the study.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        read_only: whether requests that would change something are refused.

    Raises:
        StudyError: no such study, or the port is in use.
    """
    import optuna_dashboard

    from search.reporting.dashboard_artifacts import RunArtifacts
    from search.reporting.dashboard_view import DashboardView
    from search.study.storage import open_storage
    from search.study.study import require_study

    name = require_study(settings).study_name
    storage = open_storage(settings)
    number = storage.get_study_id_from_name(name)
    artifacts = RunArtifacts(settings.folder)
    application = optuna_dashboard.wsgi(DashboardView(storage, number, artifacts), artifact_store=artifacts)
    server = _listen(host, port, guarded(application, only_loopback=host in LOOPBACK, read_only=read_only))
    return server, f"http://{host}:{server.server_port}/dashboard/studies/{number}"


def guarded(application: Application, *, only_loopback: bool, read_only: bool = False) -> Application:
    """The application behind checks of where a request comes from.

    Args:
        application: a WSGI application.
        only_loopback: whether the Host header must name this machine's loopback.
        read_only: whether requests that would change something are refused.
    """

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        changes = environ["REQUEST_METHOD"] not in SAFE_METHODS
        if (only_loopback and _named(environ) not in LOOPBACK) or (changes and _is_of_another_page(environ)):
            return _refused(start_response, b"the request comes from another page than the dashboard's own")
        if changes and read_only:
            return _refused(start_response, b"the dashboard was started with --read-only")
        return application(environ, start_response)

    return guard


def _refused(start_response: Callable[..., Any], reason: bytes) -> list[bytes]:
    start_response("403 Forbidden", [("Content-Type", "text/plain")])
    return [b"refused: " + reason + b"\n"]


def _named(environ: Mapping[str, Any]) -> str | None:
    """The name or address by which the client calls this server; None where it is none, such as `user@localhost`."""
    host = re.fullmatch(r"(?:\[([0-9a-f:]+)\]|([\w.-]+))(?::\d+)?", environ.get("HTTP_HOST", "").lower())
    return host and (host[1] or host[2])


def _is_of_another_page(environ: Mapping[str, Any]) -> bool:
    """Whether a header that browsers send, and pages cannot forge, names another page than the dashboard's.

    Programs send none of them, and may do what they like: they act for who started them. `same-site` is another page
    too, such as one on another port of this machine
    (https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Site).
    """
    host = environ.get("HTTP_HOST", "")
    pages = [environ[key] for key in ("HTTP_ORIGIN", "HTTP_REFERER") if key in environ]
    site = environ.get("HTTP_SEC_FETCH_SITE", "same-origin")
    return site not in ("same-origin", "none") or any(_place(page) != host for page in pages)


def _place(page: str) -> str:
    """Host and port of a page's address; empty where there are none."""
    try:
        return urlsplit(page).netloc
    except ValueError:  # such as an open bracket
        return ""


def _listen(host: str, port: int, application: Application) -> WSGIServer:
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
    from wsgiref.simple_server import make_server as make_wsgi_server

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Keeps the terminal quiet."""

    try:
        return make_wsgi_server(host, port, application, Server, Handler)
    except OSError as error:
        raise StudyError(
            "--host and --port must be free to listen on",
            got=f"{host}:{port} ({error.strerror})",
            remedy="Give another --port",
        ) from None


if __name__ == "__main__":
    raise SystemExit(run_command(main))

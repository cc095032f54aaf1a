"""`python -m search.dashboard`: Optuna's dashboard on a study, guarded against other web pages.

The stock dashboard has no authentication, and any page open in the same browser can tell it to delete a study.
Here requests that change something must come from the dashboard's own page, and a loopback server answers to its
own name only (a foreign name that resolves to 127.0.0.1 is refused).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    p.add_argument("--port", type=port, default=8080, help="port to listen on; 0 takes a free one")
    return p


def main(argv: Sequence[str] | None = None) -> None:
    """Parses and serves until Ctrl-C."""
    args = parser().parse_args(argv)
    server, address = make_server(SearchSettings(study=args.study, storage=args.storage), args.host, args.port)
    print(f"{address}\nCtrl-C ends it", flush=True)
    with server:
        server.serve_forever()


def make_server(settings: SearchSettings, host: str, port: int) -> tuple[WSGIServer, str]:
    """A server that listens already, and the address of the study's page.

    Raises:
        StudyError: no such study, or the port is in use.
    """
    import optuna_dashboard

    from search.reporting.dashboard_view import DashboardView
    from search.study.storage import open_storage
    from search.study.study import require_study

    name = require_study(settings).study_name
    storage = open_storage(settings)
    number = storage.get_study_id_from_name(name)
    application = optuna_dashboard.wsgi(DashboardView(storage, number))
    server = _listen(host, port, guarded(application, only_loopback=host in LOOPBACK))
    return server, f"http://{host}:{server.server_port}/dashboard/studies/{number}"


def guarded(application: Application, *, only_loopback: bool) -> Application:
    """The application behind checks of Host and Origin.

    Args:
        application: a WSGI application.
        only_loopback: whether the Host header must name this machine's loopback.
    """

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        host = environ.get("HTTP_HOST", "")
        foreign_name = only_loopback and urlsplit(f"//{host}").hostname not in LOOPBACK
        origin = environ.get("HTTP_ORIGIN")
        foreign_page = origin is not None and urlsplit(origin).netloc != host
        if foreign_name or (foreign_page and environ["REQUEST_METHOD"] not in SAFE_METHODS):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"refused: the request comes from another page than the dashboard's own\n"]
        return application(environ, start_response)

    return guard


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

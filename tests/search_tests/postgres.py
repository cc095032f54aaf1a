"""A PostgreSQL of the tests' own, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))  # where Debian's package has them
USER = ["runuser", "-u", "postgres", "--"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # it refuses root


class Server:
    """A PostgreSQL server in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._run("initdb", "--pgdata", str(folder / "data"), "--auth", "trust", "--username", "me")
        self.start()

    @property
    def url(self) -> str:
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql+psycopg://me@127.0.0.1:{self.port}/{database}"

    def empty_database(self, name: str) -> str:
        """URL of a new database, without any tables."""
        self._run("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", "me", name)
        return self.url_of(name)

    def start(self) -> None:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"  # the machine will not lose its power
        self._control("start", "--log", str(self.folder / "log"), "--options", options)

    def stop(self) -> None:
        self._control("stop", "--mode", "immediate")

    def _control(self, action: str, *options: str) -> None:
        self._run("pg_ctl", "--wait", "--pgdata", str(self.folder / "data"), action, *options)

    def _run(self, program: str, *arguments: str) -> None:
        line = [*USER, str(PROGRAMS[-1] / program), *arguments]
        subprocess.run(line, check=True, cwd=self.folder, stdout=subprocess.DEVNULL)

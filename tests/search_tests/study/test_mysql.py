"""Several calls on MySQL, or on MariaDB, which speaks as it does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from search.settings import SearchSettings
from search.study.attributes import WORKER
from search.study.study import require_study
from search.study.trials import counted
from tests.search_tests.logged_space import logged_space
from tests.search_tests.study.conftest import Together
from tests.search_tests.study.test_several_calls import TOGETHER, assert_sound

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PROGRAM = shutil.which("mariadbd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@pytest.fixture
def url() -> Iterator[str]:
    """Of an empty database on a server of the test's own; without one the test is skipped."""
    pytest.importorskip("pymysql", reason="no driver for MySQL: pip install pymysql")
    if PROGRAM is None:
        pytest.skip("no MariaDB to start: install the package mariadb-server-core")
    with tempfile.TemporaryDirectory(prefix="mariadb-", dir="/tmp") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        base = Path(PROGRAM).parents[1]
        told = [f"--basedir={base}", f"--datadir={folder}/data"]
        made = [str(base / "bin/mariadb-install-db"), "--no-defaults", *told, "--skip-test-db"]
        subprocess.run([*made, "--auth-root-authentication-method=normal"], check=True, capture_output=True)
        where = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder}/socket", "--user=root"]
        with subprocess.Popen([PROGRAM, "--no-defaults", *told, *where], stderr=subprocess.DEVNULL) as server:
            try:
                yield _with_database(f"mysql+pymysql://root@127.0.0.1:{port}")
            finally:
                server.terminate()


def _with_database(server: str) -> str:
    """URL of a new database, once the server answers; the test's timeout ends what hangs."""
    engine = create_engine(server)
    while True:
        try:
            with engine.connect() as connection:
                connection.execute(text("CREATE DATABASE studies"))
        except Exception:
            time.sleep(0.1)
        else:
            engine.dispose()
            return f"{server}/studies"


def test_calls_that_start_together_share_the_trials_wanted(url: str, workplace: Path, together: Together) -> None:
    space = logged_space(workplace, starts=(0.5, 0.25), before=TOGETHER.format(calls=3))
    settings = SearchSettings(space=space, storage=url, max_trials=14)
    assert together(settings, 3) == [0, 0, 0]
    study = require_study(settings)
    assert counted(study.trials) == 14
    assert_sound(study, workplace)
    assert len({t.user_attrs[WORKER]["id"] for t in study.trials}) == 3

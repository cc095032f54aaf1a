"""Compiled kernels: made once, done without where they cannot be had, and loaded only where nobody else could write."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cifar.networks import kernels
from cifar.networks.kernels import load_kernel

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)

SOURCE = "int answer(void) { return 42; }"
TELLING = """
#include <fcntl.h>
__attribute__((constructor)) static void loaded(void) { open("%s", O_CREAT, 0600); }
int answer(void) { return 42; }
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A C file that no other test compiles, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "small.c"
    path.write_text(SOURCE)
    return path


def answers(source: Path) -> bool:
    kernel = load_kernel(source, ())
    return kernel is not None and bool(kernel.answer() == 42)


def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache/cifar-budget-search/kernels"


def planted(tmp_path: Path, source: Path) -> tuple[Path, Path]:
    """A library in the kernel's place, and the file that appears when it is loaded."""
    path = kernels._compiled(source, ())  # not loaded: a name is loaded once a process
    telling = tmp_path / "telling.c"
    telling.write_text(TELLING % (tmp_path / "loaded"))
    subprocess.run(["cc", "-shared", "-fPIC", str(telling), "-o", str(path)], check=True)
    return path, tmp_path / "loaded"


def test_compiled_once_a_machine(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text(f'#!/bin/sh\nmkdir "{tmp_path}/ran" && exec cc "$@"\n')  # works once
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert answers(source)
    assert answers(source)
    assert [path.suffix for path in folder(tmp_path).iterdir()] == [".so"]


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false", "cc '"])
def test_done_without_where_nothing_compiles(
    source: Path, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert load_kernel(source, ()) is None
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_no_second_openmp_library_is_used(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = iter([{"libgomp"}, {"libgomp", "libomp"}])  # as a kernel compiled by Clang would bring
    monkeypatch.setattr(kernels, "_openmp_libraries", lambda: next(libraries))
    assert load_kernel(source, ()) is None


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_folder_and_file_are_the_users_alone_whatever_the_umask(source: Path, tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert answers(source)
    finally:
        os.umask(before)
    (path,) = folder(tmp_path).iterdir()
    assert [path.stat().st_mode & 0o777 for path in (folder(tmp_path), path)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_nothing_is_loaded_from_a_folder_that_others_may_write(source: Path, tmp_path: Path, mode: int) -> None:
    path, loaded = planted(tmp_path, source)
    path.chmod(0o700)
    folder(tmp_path).chmod(mode)
    assert load_kernel(source, ()) is None
    assert not loaded.exists()


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_file_that_others_may_write_is_compiled_anew(source: Path, tmp_path: Path, mode: int) -> None:
    path, loaded = planted(tmp_path, source)
    path.chmod(mode)
    assert answers(source)
    assert not loaded.exists()
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_another_user_owns_is_not_loaded(source: Path, tmp_path: Path, what: str) -> None:
    path, loaded = planted(tmp_path, source)
    path.chmod(0o700)
    os.chown(path if what == "file" else folder(tmp_path), 65534, 65534)
    assert answers(source) == (what == "file")
    assert not loaded.exists()


def test_a_missing_home_directory_is_no_crash(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user: int) -> pwd.struct_passwd:
        raise KeyError(user)

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/dev/null/none")
    assert load_kernel(source, ()) is None
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)  # a user that the system does not know
    assert load_kernel(source, ()) is None

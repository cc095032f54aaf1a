"""Files are whole or absent, whoever writes them, and nothing is left beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cifar.files import atomic_path, atomic_write, write_json, write_text


class Interrupted(Exception):
    """What ends a write half-way."""


def half_written(path: Path) -> None:
    with atomic_write(path) as file:
        file.write(b"half")
        raise Interrupted


def half_written_by_name(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"half")
        raise Interrupted


def not_put_in_place(path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.unlink()  # as a program does that fails and cleans up


@pytest.mark.parametrize("write", [half_written, half_written_by_name, not_put_in_place])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, write: object) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises((Interrupted, FileNotFoundError)):
        write(path)  # type: ignore[operator]
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_made_and_files_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    for number in (1, 2):
        write_json(path, {"number": number})
    assert path.read_text() == '{\n  "number": 2\n}\n'
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_who_may_read_a_file_is_the_system_s_choice(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "ours.txt", "text")
        (tmp_path / "plain.txt").write_text("text")
    finally:
        os.umask(before)
    assert (tmp_path / "ours.txt").stat().st_mode == (tmp_path / "plain.txt").stat().st_mode


def test_the_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        sync(descriptor)

    def renamed(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write_text(tmp_path / "file.txt", "text")
    assert done[:2] == ["file", "rename"]
    if Path("/proc/self/fd").exists():
        assert done == ["file", "rename", "folder"]

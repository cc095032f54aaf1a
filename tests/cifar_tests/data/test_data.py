"""The data set: every accepted form, the cache, the split, and what is said about damaged input."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import PIPE
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import CIFAR10

from cifar.data import prepare as preparation
from cifar.data import sources
from cifar.data.forms import CIFAR10_CLASSES, META_BATCH, OFFICIAL_FILES, TRAIN_BATCHES, Decoded
from cifar.data.images import channel_statistics
from cifar.data.prepare import PreparedData, prepare, prepared_here
from cifar.data.splits import load_test, load_training_split, stratified_order, usual_val_size
from cifar.errors import ConfigError, DataError

CLASSES = ("cat", "dog", "horse")
TRAIN_A_CLASS, TEST_A_CLASS, SIZE = 6, 2, 8


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CIFAR_DATA", raising=False)
    return tmp_path / "cache"


# Sources, made as a user would.


def tree(folder: Path, *, size: int = SIZE, test: bool = True) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", TRAIN_A_CLASS), ("test", TEST_A_CLASS if test else 0)):
        for name in CLASSES if count else ():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number:04}.png")
    return folder


def tar_of(folder: Path, target: Path, arcname: str = "") -> Path:
    mode: Any = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(target.suffix, "w")
    with tarfile.open(target, mode) as archive:
        archive.add(folder, arcname=arcname or ".")
    return target


def zip_of(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


def official(folder: Path, a_batch: int = 4) -> Path:
    """The official layout, as Python 2 pickled it: bytes keys, protocol 2."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, name in enumerate(OFFICIAL_FILES):
        batch: dict[bytes, Any] = {
            b"batch_label": b"batch",
            b"labels": [(3 * number + row) % 10 for row in range(a_batch)],
            b"data": rng.integers(0, 256, (a_batch, 3072), dtype=np.uint8),
        }
        if name == META_BATCH:
            batch = {b"num_cases_per_batch": a_batch, b"label_names": [c.encode() for c in CIFAR10_CLASSES]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def npz_arrays(train: int = 20, test: int = 4, classes: int = 4, size: int = SIZE) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "train_images": rng.integers(0, 256, (train, 3, size, size), dtype=np.uint8),
        "train_labels": (np.arange(train) % classes).astype(np.uint8),
        "test_images": rng.integers(0, 256, (test, 3, size, size), dtype=np.uint8),
        "test_labels": (np.arange(test) % classes).astype(np.uint8),
    }


def npz(path: Path, **arrays: Any) -> Path:
    with path.open("wb") as file:
        np.savez(file, **arrays)
    return path


def labels_to_npz(path: Path, labels: list[int]) -> Path:
    """One pixel an image, whose bytes are its position: so that images can be told apart."""
    positions = np.arange(len(labels))
    images = np.stack([positions % 256, positions // 256, positions * 0], axis=1).astype(np.uint8)
    return npz(path, train_images=images[:, :, None, None], train_labels=np.array(labels))


def positions(images: torch.Tensor) -> list[int]:
    flat = images[:, :, 0, 0].long()
    return (flat[:, 0] + 256 * flat[:, 1]).tolist()


def everything(prepared: PreparedData) -> list[np.ndarray[Any, Any]]:
    return [
        np.load(prepared.folder / f"{split}_{kind}.npy") for split in ("train", "test") for kind in ("images", "labels")
    ]


# Accepted forms.

TREE_FORMS: dict[str, Callable[[Path, Path], Path]] = {
    "folder": lambda folder, out: folder,
    "enclosed folder": lambda folder, out: Path(shutil.copytree(folder, out / "outer" / "inner")).parent,
    "tar": lambda folder, out: tar_of(folder, out / "a.tar"),
    "tar.gz": lambda folder, out: tar_of(folder, out / "a.tar.gz"),
    "tar.xz": lambda folder, out: tar_of(folder, out / "a.tar.xz"),
    "enclosed tar.bz2": lambda folder, out: tar_of(folder, out / "a.tar.bz2", "enclosing"),
    "zip": lambda folder, out: zip_of(folder, out / "a.zip"),
    "zip of another name": lambda folder, out: zip_of(folder, out / "a.dat"),
}


@pytest.mark.parametrize("form", TREE_FORMS)
def test_image_tree_round_trips(form: str, tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    (folder / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "README.txt").write_text("not an image")
    prepared = prepare(TREE_FORMS[form](folder, tmp_path), cache=cache)

    assert prepared.class_names == CLASSES
    assert (prepared.train_count, prepared.test_count, prepared.image_size) == (18, 6, SIZE)
    train_images, train_labels, test_images, test_labels = everything(prepared)
    assert train_labels.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    expected = np.asarray(Image.open(folder / "train" / "dog" / "0002.png")).transpose(2, 0, 1)
    assert (train_images[8] == expected).all()
    expected = np.asarray(Image.open(folder / "test" / "horse" / "0001.png")).transpose(2, 0, 1)
    assert (test_images[5] == expected).all()


def test_fingerprint_is_of_the_images_not_of_the_form(tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    same = {prepare(make(folder, tmp_path), cache=cache).fingerprint for make in TREE_FORMS.values()}
    assert len(same) == 1
    (folder / "test" / "cat" / "0000.png").unlink()
    assert prepare(folder, cache=cache).fingerprint not in same


def test_tree_without_test_split(tmp_path: Path, cache: Path) -> None:
    prepared = prepare(tree(tmp_path / "tree", test=False), cache=cache)
    assert prepared.test_count == 0
    assert len(load_training_split(prepared, val_size=3).train) == 15
    with pytest.raises(DataError, match="needs a test split; got none"):
        load_test(prepared)


@pytest.mark.parametrize("form", TREE_FORMS)
def test_classes_alone_are_split_by_offer(form: str, tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree", test=False) / "train"
    (folder / "notes.txt").write_text("not an image")
    source = TREE_FORMS[form](folder, tmp_path)
    with pytest.raises(DataError, match=r"must lie in train/<class>/.*Give --split 0\.8, which keeps one of five"):
        prepare(source, cache=cache)
    prepared = prepare(source, split=0.65, cache=cache)
    assert (prepared.class_names, prepared.train_count, prepared.test_count) == (CLASSES, 12, 6)
    whole = prepare(tree(tmp_path / "whole", test=False), cache=cache)
    train, test = everything(prepared)[0], everything(prepared)[2]
    assert sorted(map(bytes, (*train, *test))) == sorted(map(bytes, everything(whole)[0]))
    again = prepare(tree(tmp_path / "again", test=False), split=0.65, cache=cache)
    assert again.fingerprint == prepared.fingerprint != prepare(source, split=0.9, cache=cache).fingerprint


def test_what_is_split_already_is_not_split_again(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="--split is for images that are not split yet; got 6 test images"):
        prepare(tree(tmp_path / "tree"), split=0.8, cache=cache)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.floats(0.01, 0.99))
def test_a_split_takes_its_share_of_each_class(counts: list[int], share: float) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.arange(len(labels), dtype=np.uint8).repeat(3).reshape(-1, 3, 1, 1)
    none = np.empty((0, 3, 1, 1), dtype=np.uint8), np.empty(0, dtype=np.int64)
    decoded = Decoded(tuple(map(str, counts)), images, labels, *none).split(share, Path("x"))
    for label, count in enumerate(counts):
        kept, taken = (int((part == label).sum()) for part in (decoded.train_labels, decoded.test_labels))
        assert kept + taken == count
        assert kept >= 1
        assert (taken >= 1) == (count > 1)
        assert count == 1 or abs(kept - share * count) <= 1
    shown = zip(*(map(int, part) for part in (decoded.train_images[:, 0, 0, 0], decoded.train_labels)), strict=True)
    assert all(labels[image] == label for image, label in shown)


@given(st.integers(2, 10**6))
def test_the_usual_validation_share(images: int) -> None:
    size = usual_val_size(images)
    assert 1 <= size <= max(1, images // 5)
    assert size == min(5000, size)
    assert usual_val_size(images + 1) >= size
    assert (usual_val_size(60), usual_val_size(50_000)) == (12, 5000)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_images_of_other_modes_become_rgb(mode: str, tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    suffix = "jpg" if mode == "CMYK" else "png"
    image = Image.new("RGB", (SIZE, SIZE), (204, 204, 204)).convert(mode)
    extra: dict[str, Any] = {"transparency": bytes(range(256))} if mode == "P" else {}
    image.save(folder / "train" / "cat" / f"0000a.{suffix}", **extra)
    images = everything(prepare(folder, cache=cache))[0]
    assert images.shape == (19, 3, SIZE, SIZE)
    assert (images[1][0] == images[1][1]).all()


def check_official(prepared: PreparedData, folder: Path) -> None:
    assert prepared.class_names == CIFAR10_CLASSES
    assert (prepared.train_count, prepared.test_count, prepared.image_size) == (20, 4, 32)
    train_images, train_labels, test_images, test_labels = everything(prepared)
    for start, name in ((4, "data_batch_2"), (16, "data_batch_5")):
        batch = pickle.loads((folder / name).read_bytes())
        assert (train_images[start : start + 4].reshape(4, 3072) == batch[b"data"]).all()
        assert train_labels[start : start + 4].tolist() == batch[b"labels"]
    batch = pickle.loads((folder / "test_batch").read_bytes())
    assert (test_images.reshape(4, 3072) == batch[b"data"]).all()
    assert test_labels.tolist() == batch[b"labels"]


@pytest.mark.parametrize("form", ["itself", "parent", "tar.gz"])
def test_official_layout_round_trips(form: str, tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = official(tmp_path / "official" / "cifar-10-batches-py")
    source = {"itself": folder, "parent": folder.parent}.get(form)
    source = source or tar_of(folder, tmp_path / "cifar.tar.gz", folder.name)
    with caplog.at_level(logging.WARNING):
        prepared = prepare(source, cache=cache)
    check_official(prepared, folder)
    (message,) = caplog.messages  # told once, in one line, that this is not the published data
    assert "is not the official CIFAR-10: other checksums for batches.meta, data_batch_1" in message


def test_official_checksums_pass_silently(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = official(tmp_path / "cifar-10-batches-py")
    publish(folder, monkeypatch)
    prepare(folder, cache=cache)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("classes", "given", "names"),
    [
        (4, None, ("0", "1", "2", "3")),
        (10, None, CIFAR10_CLASSES),
        (2, ["no", "yes"], ("no", "yes")),
        (2, [b"no", b"yes"], ("no", "yes")),
    ],
)
def test_npz_round_trips(
    classes: int, given: list[str] | None, names: tuple[str, ...], tmp_path: Path, cache: Path
) -> None:
    arrays = npz_arrays(classes=classes)
    named = arrays if given is None else {**arrays, "class_names": np.array(given)}
    prepared = prepare(npz(tmp_path / "some.npz", **named), cache=cache)
    assert prepared.class_names == names
    for stored, name in zip(everything(prepared), arrays, strict=True):
        assert (stored == arrays[name]).all()
    test = load_test(prepared)
    assert test.images.dtype == torch.uint8
    assert test.labels.dtype == torch.int64
    assert (test.images.numpy() == arrays["test_images"]).all()
    assert len(test) == 4


def test_source_from_the_environment(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = npz(tmp_path / "some.npz", **npz_arrays())
    monkeypatch.setenv("CIFAR_DATA", str(source))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    prepared = prepare()
    assert prepared.source == str(source)
    assert prepared.folder.is_relative_to(cache / "cifar-budget-search")


# Cache.


def poisoned(*_: object, **__: object) -> None:
    raise AssertionError("decoded again")


def test_second_start_does_not_decode(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tree(tmp_path / "tree")
    sources = [folder, tar_of(folder, tmp_path / "a.tar.xz"), npz(tmp_path / "a.npz", **npz_arrays())]
    first = [prepare(source, cache=cache) for source in sources]
    monkeypatch.setattr(preparation, "decode", poisoned)
    assert [prepare(source, cache=cache) for source in sources] == first


def test_changed_source_is_decoded_anew(tmp_path: Path, cache: Path) -> None:
    source = npz(tmp_path / "a.npz", **npz_arrays())
    first = prepare(source, cache=cache)
    npz(source, **npz_arrays(train=24))
    second = prepare(source, cache=cache)
    assert second.folder != first.folder
    assert second.train_count == 24


def test_archives_too_great_to_hash_are_known_by_their_ends(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "HASHED_WHOLE", 2**20)
    source = npz(tmp_path / "a.npz", **npz_arrays(train=400, size=32))
    assert source.stat().st_size > 2**20
    first = prepare(source, cache=cache)
    assert prepare(source, cache=cache) == first
    os.utime(source, ns=(1, 1))
    assert prepare(source, cache=cache).folder != first.folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-1]),
        lambda file: file.unlink(),
        lambda file: (file.parent / "meta.json").write_text("{"),
        lambda file: (file.parent / "meta.json").write_text('{"files": {}}'),
        lambda file: (file.parent / "meta.json").write_text("[]"),
        lambda file: (file.parent / "meta.json").unlink(),
    ],
)
@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "order-0/train_images.npy"])
def test_damaged_cache_is_rebuilt(name: str, damage: Callable[[Path], object], tmp_path: Path, cache: Path) -> None:
    source = npz(tmp_path / "a.npz", **npz_arrays())
    first = prepare(source, cache=cache)
    before = load_training_split(first, val_size=4)
    train_images, val_labels = before.train.images.clone(), before.val.labels.clone()
    damage(first.folder / name)

    assert prepare(source, cache=cache) == first
    after = load_training_split(first, val_size=4)
    assert torch.equal(after.train.images, train_images)
    assert torch.equal(after.val.labels, val_labels)
    assert (load_test(first).images.numpy() == npz_arrays()["test_images"]).all()


def test_cache_cut_under_a_running_program_is_told(tmp_path: Path, cache: Path) -> None:
    prepared = prepare(npz(tmp_path / "a.npz", **npz_arrays()), cache=cache)
    file = prepared.folder / "train_images.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cached images must stay.*Run again to rebuild them"):
        load_training_split(prepared, val_size=4)


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path, cache: Path) -> None:
    source = npz(tmp_path / "a.npz", **npz_arrays())
    folder = prepare(source, cache=cache).folder
    (folder / "meta.json").unlink()
    old, young = folder / "old.tmp", folder / "young.tmp"
    for file in (old, young):
        file.write_bytes(b"x")
    os.utime(old, (time.time() - 7200,) * 2)
    prepare(source, cache=cache)
    assert not old.exists()
    assert young.exists()


PREPARE_AND_SPLIT = """
import sys
from pathlib import Path
from cifar.data.prepare import prepare
from cifar.data.splits import load_training_split
print("ready", flush=True)
sys.stdin.readline()
split = load_training_split(prepare(sys.argv[1], cache=Path(sys.argv[2])), val_size=100)
maps = Path("/proc/self/maps")
lines = maps.read_text().splitlines() if maps.exists() else []
mapped = [line.split()[4:] for line in lines if "order-0/train" in line]
print(int(split.train.images.sum()), int(split.val.labels.sum()), *{" ".join(file) for file in mapped})
"""


def test_processes_that_start_together_map_one_file(tmp_path: Path, cache: Path) -> None:
    source = npz(tmp_path / "a.npz", **npz_arrays(train=1000, size=32))
    command = [sys.executable, "-c", PREPARE_AND_SPLIT, str(source), str(cache)]
    workers = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write("go\n")
        worker.stdin.flush()
    found = {worker.communicate()[0] for worker in workers}
    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(found) == 1  # the mapped file's inode included
    assert "deleted" not in found.pop()
    assert not list(cache.rglob("*.tmp"))


def test_images_are_decoded_anew_on_a_machine_without_them(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    prepared = prepare(tree(tmp_path / "tree"), cache=cache)
    assert prepared_here(prepared) is prepared
    shutil.rmtree(cache)  # as on another machine, whose cache is its own
    here = prepared_here(prepared)
    assert here == replace(prepared, folder=here.folder)
    assert here.folder.is_relative_to(tmp_path / "own")
    with pytest.raises(DataError, match="every machine must find the same images"):
        prepared_here(replace(prepared, fingerprint="of others"))


def test_cache_folder_that_cannot_be_written(tmp_path: Path, cache: Path) -> None:
    cache.write_text("a file is in the way")
    source = npz(tmp_path / "a.npz", **npz_arrays())
    with pytest.raises(DataError, match=r"cache folder must be writable.*another folder by XDG_CACHE_HOME"):
        prepare(source, cache=cache)


def test_a_missing_home_directory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user: object) -> None:
        raise KeyError(user)

    source = npz(tmp_path / "a.npz", **npz_arrays())
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/dev/null/none")
    with pytest.raises(DataError, match=r"cache folder must be writable.*XDG_CACHE_HOME"):
        prepare(source)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)  # a user that the system does not know
    with pytest.raises(ConfigError, match=r"needs a home directory; got ~/\.cache/.* XDG_CACHE_HOME"):
        prepare(source)
    assert prepare(source, cache=tmp_path / "cache").train_count


def test_the_home_of_an_unknown_user_is_no_source_and_no_cache(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(DataError, match="a data source must exist; got ~no-such-user/a"):
        prepare("~no-such-user/a.npz", cache=cache)
    with pytest.raises(ConfigError, match="needs a home directory; got ~no-such-user/cache"):
        prepare(npz(tmp_path / "a.npz", **npz_arrays()), cache=Path("~no-such-user/cache"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_told_and_leaves_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: Any, arr: object) -> None:
        with open("/dev/full", "wb", buffering=0) as device:
            device.write(b"x")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match="No space left on device"):
        prepare(npz(tmp_path / "a.npz", **npz_arrays()), cache=cache)
    assert not [path for path in cache.rglob("*") if path.is_file()]


# Split.


@settings(max_examples=60)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_beginning_of_a_stratified_order_is_proportional(counts: list[int], shuffle: Any) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    shuffle.shuffle(labels)
    order = stratified_order(np.array(labels))
    assert sorted(order) == list(range(len(labels)))
    taken = np.zeros(len(counts))
    for size, position in enumerate(order, start=1):
        taken[labels[position]] += 1
        assert (np.abs(taken - size * np.array(counts) / len(labels)) < 1).all()


@settings(max_examples=25)
@given(drawn=st.data(), seed=st.integers(0, 2**32 - 1))
def test_split_properties(drawn: st.DataObject, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    counts = drawn.draw(st.lists(st.integers(1, 60), min_size=2, max_size=6), label="counts")
    total = sum(counts)
    val_size = drawn.draw(st.integers(0, total - 1), label="val_size")
    sizes = sorted(drawn.draw(st.lists(st.integers(1, total - val_size), min_size=2, max_size=2)))
    val_limit = drawn.draw(st.integers(1, total), label="val_limit")
    folder = tmp_path_factory.mktemp("split")
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    prepared = prepare(labels_to_npz(folder / "a.npz", labels), cache=folder / "cache")

    full = load_training_split(prepared, val_size=val_size, seed=seed)
    small, large = (load_training_split(prepared, val_size=val_size, train_size=size, seed=seed) for size in sizes)
    limited = load_training_split(prepared, val_size=val_size, val_limit=val_limit, seed=seed)

    train, val = positions(full.train.images), positions(full.val.images)
    assert sorted(train + val) == list(range(total))  # disjoint, and nothing lost
    assert len(val) == len(full.val) == val_size
    assert set(positions(small.train.images)) <= set(positions(large.train.images)) <= set(train)
    assert positions(small.val.images) == val == positions(large.val.images)
    assert set(positions(limited.val.images)) <= set(val)
    assert len(limited.val) == min(val_limit, val_size)
    assert positions(limited.train.images) == train
    for part, whole in (
        (full.val.labels, torch.tensor(labels)),
        (small.train.labels, full.train.labels),
        (large.train.labels, full.train.labels),
        (limited.val.labels, full.val.labels),
    ):
        assert_proportional(part, whole, len(counts))
    for split in (full, small, limited):
        assert split.train.labels.tolist() == [labels[p] for p in positions(split.train.images)]


def assert_proportional(part: torch.Tensor, whole: torch.Tensor, classes: int) -> None:
    share = len(part) / max(1, len(whole))
    ideal = whole.bincount(minlength=classes) * share
    assert ((part.bincount(minlength=classes) - ideal).abs() <= 1).all()


@pytest.fixture
def numbered(tmp_path: Path, cache: Path) -> PreparedData:
    return prepare(labels_to_npz(tmp_path / "n.npz", [n % 4 for n in range(200)]), cache=cache)


GOLDEN_VAL = [40, 197, 170, 51, 100, 25, 82, 139]
GOLDEN_TRAIN = [12, 173, 46, 183]


def test_split_is_the_same_in_every_run_and_on_every_machine(numbered: PreparedData, tmp_path: Path) -> None:
    split = load_training_split(numbered, val_size=8, train_size=4, seed=3)
    assert positions(split.val.images) == GOLDEN_VAL
    assert positions(split.train.images) == GOLDEN_TRAIN
    torch.manual_seed(99)
    np.random.seed(99)
    elsewhere = prepare(tmp_path / "n.npz", cache=tmp_path / "elsewhere")
    again = load_training_split(elsewhere, val_size=8, train_size=4, seed=3)
    assert positions(again.val.images) == GOLDEN_VAL
    assert positions(again.train.images) == GOLDEN_TRAIN


def test_split_leaves_the_global_generators_alone(numbered: PreparedData) -> None:
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    load_training_split(numbered, val_size=8, train_size=4, seed=3)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state(legacy=False)["state"]["key"]).all()


def test_seeds_differ_and_val_sizes_nest(numbered: PreparedData) -> None:
    val: dict[tuple[int, int], list[int]] = {
        (size, seed): positions(load_training_split(numbered, val_size=size, seed=seed).val.images)
        for size in (10, 40)
        for seed in (0, 1)
    }
    assert set(val[10, 0]) < set(val[40, 0])
    assert set(val[40, 0]) != set(val[40, 1])


def test_no_validation(numbered: PreparedData) -> None:
    split = load_training_split(numbered, val_size=0, val_limit=5)
    assert len(split.val) == 0
    assert split.val.images.shape == (0, 3, 1, 1)
    assert len(split.train) == 200


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"val_size": 200}, r"val_size must be in 0\.\.199; got 200 with 200 training images"),
        ({"val_size": -1}, r"val_size must be in 0\.\.199; got -1"),
        ({"val_size": 50, "train_size": 151}, r"train_size must be in 1\.\.150; got 151"),
        ({"val_size": 50, "train_size": 0}, r"train_size must be in 1\.\.150; got 0"),
        ({"val_size": 50, "val_limit": 0}, r"val_limit must be 1 or more; got 0"),
        ({"val_size": 50, "seed": -1}, r"split seed must be in 0\.\.4294967295; got -1"),
    ],
)
def test_impossible_sizes(sizes: dict[str, Any], message: str, numbered: PreparedData) -> None:
    with pytest.raises(DataError, match=message):
        load_training_split(numbered, **sizes)


def test_search_never_opens_test_files(numbered: PreparedData, tmp_path: Path, cache: Path) -> None:
    prepared = prepare(npz(tmp_path / "a.npz", **npz_arrays()), cache=cache)
    for file in prepared.folder.glob("test_*"):
        file.unlink()
    assert len(load_training_split(prepared, val_size=5, train_size=3).train) == 3
    with pytest.raises(DataError, match="cached images must stay"):
        load_test(prepared)


def test_final_evaluation_reads_only_test_files(tmp_path: Path, cache: Path) -> None:
    prepared = prepare(npz(tmp_path / "a.npz", **npz_arrays()), cache=cache)
    for file in prepared.folder.glob("train_*"):
        file.unlink()
    assert len(load_test(prepared)) == 4


def test_full_parts_share_one_memory_map(numbered: PreparedData) -> None:
    one, other = (load_training_split(numbered, val_size=20) for _ in range(2))
    assert one.train.images.is_contiguous()
    assert one.val.images.is_contiguous()
    assert one.train.images.data_ptr() - one.val.images.data_ptr() == 20 * 3  # one map, two views
    one.train.images.zero_()  # a private copy: neither the file nor another worker sees it
    assert other.train.images.any()
    assert load_training_split(numbered, val_size=20).train.images.any()


def test_prepared_data_is_cheap_to_send(numbered: PreparedData) -> None:
    content = pickle.dumps(numbered)
    assert len(content) < 2000
    assert pickle.loads(content) == numbered


# Statistics.


def test_channel_statistics_match_a_float_copy() -> None:
    images = torch.randint(0, 256, (4000, 3, 48, 48), dtype=torch.uint8)  # more than one chunk
    images[:, 1] //= 3
    mean, std = channel_statistics(images)
    exact = images.double() / 255
    assert mean == pytest.approx(exact.mean(dim=(0, 2, 3)).tolist(), abs=1e-9)
    assert std == pytest.approx(exact.std(dim=(0, 2, 3), correction=0).tolist(), abs=1e-9)


def test_channel_statistics_of_one_colour_can_be_divided_by() -> None:
    assert channel_statistics(torch.full((2, 3, 4, 4), 51, dtype=torch.uint8))[1] == (1 / 255,) * 3
    with pytest.raises(DataError, match="at least one image"):
        channel_statistics(torch.empty(0, 3, 4, 4, dtype=torch.uint8))


# Damaged and wrong sources.


def one_line(source: Path | str, cache: Path) -> str:
    """The message of the refusal, which must be one line and leave nothing half-made in the cache."""
    with pytest.raises(DataError) as refusal:
        prepare(source, cache=cache)
    assert "\n" not in str(refusal.value)
    assert not list(cache.rglob("*.npy"))
    return str(refusal.value)


def test_missing_source(tmp_path: Path, cache: Path) -> None:
    message = one_line(tmp_path / "nowhere", cache)
    assert "must exist; got" in message
    assert "nowhere" in message
    assert "cifar-10-batches-py" in message


def test_unknown_forms_list_the_accepted_ones(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "two" / "a" / "train").mkdir(parents=True)
    (tmp_path / "two" / "b" / "train").mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "nothing").write_bytes(b"")
    tar_of(tmp_path / "empty", tmp_path / "empty.tar.gz", "empty")
    for name in ("empty", "two", "notes.txt", "nothing", "empty.tar.gz"):
        message = one_line(tmp_path / name, cache)
        assert "must be in an accepted form" in message
        assert name in message
        assert "train/<class>/*.jpg|png" in message
        assert ".npz with train_images" in message


def test_corrupt_image_is_named(tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    file = folder / "test" / "dog" / "0001.png"
    file.write_bytes(file.read_bytes()[:60])
    for source in (folder, tar_of(folder, tmp_path / "a.tar.xz"), zip_of(folder, tmp_path / "a.zip")):
        message = one_line(source, cache)
        assert "undamaged JPEG or PNG" in message
        assert f"{source.name}: test/dog/0001.png" in message


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("train/cat/odd.png", lambda: Image.new("RGB", (9, 9)), "of one size.*9x9 where 8x8 was due"),
        ("train/cat/odd.png", lambda: Image.new("RGB", (8, 9)), "must be square.*8x9"),
        ("train/cat/deep.png", lambda: Image.new("I;16", (8, 8)), "8 bits a channel.*I;16"),
        ("train/cat/a.bmp", lambda: Image.new("RGB", (8, 8)), "must be JPEG or PNG.*a.bmp"),
        ("train/flat.png", lambda: Image.new("RGB", (8, 8)), "must lie in train/<class>/.*flat.png"),
        ("train/cat/more/a.png", lambda: Image.new("RGB", (8, 8)), "must lie in train/<class>/"),
        ("test/wolf/a.png", lambda: Image.new("RGB", (8, 8)), "must be in train/ too.*'wolf'"),
    ],
)
def test_images_that_do_not_fit(
    name: str, make: Callable[[], Image.Image], message: str, tmp_path: Path, cache: Path
) -> None:
    folder = tree(tmp_path / "tree")
    (folder / name).parent.mkdir(exist_ok=True)
    make().save(folder / name)
    refused = pytest.raises(DataError, match=message)
    with refused:
        prepare(folder, cache=cache)
    with refused:
        prepare(tar_of(folder, tmp_path / "a.tar"), cache=cache)


def test_two_trees_in_one_archive(tmp_path: Path, cache: Path) -> None:
    tree(tmp_path / "both" / "a")
    tree(tmp_path / "both" / "b")
    assert "must hold one image tree" in one_line(zip_of(tmp_path / "both", tmp_path / "a.zip"), cache)


def test_links_in_a_tar_are_refused(tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    (folder / "train" / "cat" / "link.png").symlink_to("0000.png")
    assert "plain files" in one_line(tar_of(folder, tmp_path / "a.tar"), cache)


def test_one_class_is_no_classification(tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    for name in ("dog", "horse"):
        for split in ("train", "test"):
            shutil.rmtree(folder / split / name)
    assert "at least 2 classes; got 1" in one_line(folder, cache)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "tar.bz2", "zip", "npz"])
@pytest.mark.parametrize("share", [0.02, 0.4, 0.7, 0.97])
def test_truncated_archives(suffix: str, share: float, tmp_path: Path, cache: Path) -> None:
    source = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        npz(source, **npz_arrays())
    else:
        (zip_of if suffix == "zip" else tar_of)(tree(tmp_path / "tree"), source)
    content = source.read_bytes().rstrip(b"\0")  # a tar ends with kilobytes of zeros
    source.write_bytes(content[: int(share * len(content))])
    assert one_line(source, cache)


def test_tar_cut_between_two_images(tmp_path: Path, cache: Path) -> None:
    """tarfile takes this for a whole archive: silently fewer images."""
    source = tar_of(tree(tmp_path / "tree"), tmp_path / "a.tar")
    with tarfile.open(source) as archive:
        cut = next(info.offset for info in archive if info.name.endswith("train/horse/0003.png"))
    source.write_bytes(source.read_bytes()[:cut])
    assert "must be readable and complete" in one_line(source, cache)


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz", "zip", "npz"])
def test_flipped_bytes(suffix: str, tmp_path: Path, cache: Path) -> None:
    """Never a traceback: flipped bytes are refused, or (plain tar has no checksum of data) decoded."""
    source = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        npz(source, **npz_arrays())
    else:
        (zip_of if suffix == "zip" else tar_of)(tree(tmp_path / "tree"), source)
    content = source.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(30):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] ^= 1 << rng.integers(8)
        source.write_bytes(damaged)
        try:
            sources.decode(source)
        except DataError as error:
            assert source.name in str(error)


def test_names_in_an_archive_write_nothing(tmp_path: Path, cache: Path) -> None:
    folder = tree(tmp_path / "tree")
    content = (folder / "train" / "cat" / "0000.png").read_bytes()
    source = tmp_path / "a.tar"
    with tarfile.open(source, "w") as archive:
        archive.add(folder, arcname=".")
        for name in ("../escaped.png", "/escaped.png", "train/../escaped.png"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    prepare(source, cache=cache)
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": None}, "must hold train_images and train_labels"),
        ({"test_labels": None}, "both test_images and test_labels, or neither"),
        ({"train_images": np.zeros((20, 8, 8, 3), np.uint8)}, r"uint8 \(N, 3, S, S\).*\(20, 8, 8, 3\)"),
        ({"train_images": np.zeros((20, 3, 8, 8), np.float32)}, "float32"),
        ({"train_images": np.zeros((20, 3, 8, 9), np.uint8)}, "must be square"),
        ({"train_images": np.zeros((20, 3, 9, 9), np.uint8)}, "as large as training images"),
        ({"train_labels": np.zeros(19, np.uint8)}, r"one an image.*\(19,\)"),
        ({"train_labels": np.zeros(20, np.float64)}, "as integers.*float64"),
        ({"train_labels": np.arange(20) - 1}, r"train labels must be in 0\.\.18; got \[-1\]"),
        ({"test_labels": np.array([0, 1, 2, 4])}, r"test labels must be in 0\.\.3; got \[4\]"),
        ({"class_names": np.array(["a", "b"])}, r"labels must be in 0\.\.1; got \[2\]"),
        ({"class_names": np.array(["a", "b", "c", "c"])}, "class names must differ"),
        ({"class_names": np.array([1, 2, 3, 4])}, "class_names as a list of text"),
        ({"train_images": np.zeros((0, 3, 8, 8), np.uint8), "train_labels": np.zeros(0, np.uint8)}, "none"),
        ({"class_names": np.array([None, "b"], dtype=object)}, "plain numpy arrays.*allow_pickle"),
    ],
)
def test_wrong_npz(changes: dict[str, Any], message: str, tmp_path: Path, cache: Path) -> None:
    arrays = {name: array for name, array in (npz_arrays() | changes).items() if array is not None}
    with pytest.raises(DataError, match=message) as refusal:
        prepare(npz(tmp_path / "a.npz", **arrays), cache=cache)
    assert "a.npz" in str(refusal.value)


def test_npz_that_is_something_else(tmp_path: Path, cache: Path) -> None:
    source = tmp_path / "a.npz"
    for content in (pickle.dumps({"a": 1}), b"", b"hello"):
        source.write_bytes(content)
        assert "a.npz" in one_line(source, cache)
    with source.open("wb") as file:
        np.save(file, np.zeros(3))
    assert "a.npz" in one_line(source, cache)


class Attack:
    def __reduce__(self) -> Any:
        return os.mkdir, ("attacked",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data_batch_3", {b"labels": [1]}, "data_batch_3 must be an official .*no b'data'"),
        ("data_batch_3", {b"data": np.zeros((1, 3072)), b"labels": [1]}, "no b'data' of uint8"),
        ("data_batch_3", {b"data": np.zeros((1, 3072), np.uint8), b"labels": [1, 2]}, "2 labels of 1 images"),
        ("data_batch_3", {b"data": np.zeros((1, 3072), np.uint8), b"labels": ["1"]}, "list of integers"),
        ("data_batch_3", {b"data": np.zeros((1, 3072), np.uint8), b"labels": [2**63]}, "list of integers"),
        ("test_batch", {b"data": np.zeros((1, 3072), np.uint8), b"labels": [10]}, r"integers in 0\.\.9"),
        ("data_batch_3", [1, 2], "got a list"),
        ("batches.meta", {}, "no b'label_names'"),
        ("test_batch", Attack(), "test_batch must be an official"),
    ],
)
def test_wrong_official_batches(
    name: str, content: Any, message: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = official(tmp_path / "cifar-10-batches-py")
    (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=message):
        prepare(folder, cache=cache)
    assert not (tmp_path / "attacked").exists()


def test_missing_and_cut_official_batches(tmp_path: Path, cache: Path) -> None:
    folder = official(tmp_path / "cifar-10-batches-py")
    content = (folder / "test_batch").read_bytes()
    (folder / "test_batch").write_bytes(content[:1000])
    assert "test_batch must be an official" in one_line(folder, cache)
    (folder / "test_batch").unlink()
    message = one_line(folder, cache)
    assert "must hold test_batch" in message
    assert "https://www.cs.toronto.edu" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_source(tmp_path: Path, cache: Path) -> None:
    source = npz(tmp_path / "a.npz", **npz_arrays())
    source.chmod(0)
    assert "Permission denied" in one_line(source, cache)


# Download, through torchvision from a server of our own making.


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the checksums of a folder the published ones."""
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(folder / name)] for name in TRAIN_BATCHES])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder published as the official data, with its archive at CIFAR10.url."""
    folder = official(tmp_path / "server" / "cifar-10-batches-py")
    publish(folder, monkeypatch)
    archive = tar_of(folder, tmp_path / "server" / "cifar-10-python.tar.gz", folder.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))
    handler = partial(Handler, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/{archive.name}")
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Prints nothing."""


def test_official_data_is_downloaded_verified_and_found_again(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = prepare(cache=cache)
    check_official(prepared, published)
    assert prepared.source == "official CIFAR-10"
    assert sorted(path.name for path in cache.iterdir()) == ["cifar-10-python.tar.gz", "prepared"]
    monkeypatch.setattr(CIFAR10, "url", "file:///nowhere")
    assert prepare(cache=cache) == prepared
    assert not caplog.messages
    assert socket.getdefaulttimeout() is None


def test_official_folder_in_the_cache_needs_no_download(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "url", "file:///nowhere")
    shutil.copytree(published, cache / published.name)
    check_official(prepare(cache=cache), published)
    (cache / published.name / "test_batch").write_bytes((published / "data_batch_1").read_bytes())
    with pytest.raises(DataError, match=r"published checksums; got others for test_batch in .*Delete that"):
        prepare(cache=cache)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_failed_download(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"http://127.0.0.1:{closed_port()}/cifar.tar.gz", "file:///nowhere/cifar.tar.gz"):
        monkeypatch.setattr(CIFAR10, "url", url)
        with pytest.raises(DataError) as refusal:
            prepare(cache=cache)
        message = str(refusal.value)
        assert url in message
        assert "\n" not in message
        for needed in ("--data", "CIFAR_DATA", "cifar-10-python.tar.gz", "train/<class>", ".npz"):
            assert needed in message
        assert list(cache.iterdir()) == []


def test_damaged_download_is_refused_and_not_kept(
    published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = published.parent / "cifar-10-python.tar.gz"
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataError, match="corrupted"):
        prepare(cache=cache)
    assert list(cache.iterdir()) == []


def test_silent_server_is_given_up(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cifar.runtime.download.TIMEOUT", 0.2)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setattr(CIFAR10, "url", f"http://127.0.0.1:{listener.getsockname()[1]}/cifar.tar.gz")
        with pytest.raises(DataError, match="timed out"):
            prepare(cache=cache)


def test_torchvision_of_another_torch(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(DataError, match=r"a torchvision that fits torch; got .*pip install"):
        prepare(cache=cache)


# Real images.


@pytest.mark.slow
def test_real_images(real_images: Path, cache: Path) -> None:
    prepared = prepare(real_images, cache=cache)
    decoded = {path: path.stat().st_mtime_ns for path in prepared.folder.iterdir()}
    assert prepare(real_images, cache=cache) == prepared
    assert {path: path.stat().st_mtime_ns for path in prepared.folder.iterdir()} == decoded  # not decoded again
    assert (prepared.train_count, prepared.test_count, prepared.image_size) == (50_000, 10_000, 32)
    assert prepared.class_names == CIFAR10_CLASSES
    split = load_training_split(prepared, val_size=5000)
    assert split.train.labels.bincount().tolist() == [4500] * 10
    assert split.val.labels.bincount().tolist() == [500] * 10
    assert load_test(prepared).labels.bincount().tolist() == [1000] * 10
    mean, std = channel_statistics(load_training_split(prepared, val_size=0).train.images)
    assert mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.002)
    assert std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.005)

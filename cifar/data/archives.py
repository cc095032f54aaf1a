"""Reads a data set from any accepted form into uint8 arrays, in one pass and with nothing unpacked to disk.

    official     folder cifar-10-batches-py, a folder with it, or its tar.gz; read by `cifar.kaggle.safe_pickle`
    image tree   train/<class>/*.jpg|jpeg|png and perhaps test/<class>/..., as a folder, a tar or a zip,
                 perhaps inside one more folder; classes are the sorted folder names, images sorted by path
    npz          train_images (N, 3, S, S) uint8, train_labels (N,), perhaps test_images and test_labels
                 and class_names (k,)

An archive is told by its first bytes, not by its name. Whatever is wrong with a source is a `DataError`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cifar.errors import DataError, UserError, fitting_torchvision
from cifar.kaggle import safe_pickle

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Member = tuple[PurePosixPath, Callable[[], bytes]]

OFFICIAL_ARCHIVE = "cifar-10-python.tar.gz"
OFFICIAL_FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCH = "test_batch"
META_BATCH = "batches.meta"
OFFICIAL_FILES = (*TRAIN_BATCHES, TEST_BATCH, META_BATCH)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ACCEPTED_FORMS = (
    f"the official {OFFICIAL_FOLDER} folder or {OFFICIAL_ARCHIVE}, an image folder "
    "train/<class>/*.jpg|png (or a tar, tar.gz, tar.xz or zip of one), or an .npz with train_images and "
    "train_labels"
)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
OTHER_IMAGE_SUFFIXES = {".bmp", ".gif", ".tif", ".tiff", ".webp"}
HASHED_WHOLE = 256 * 2**20
"""Archives up to this many bytes are known by all their content (a second), greater ones by their ends."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoded:
    """A whole data set in memory."""

    class_names: tuple[str, ...]
    train_images: Images  # (N, 3, S, S)
    train_labels: Labels  # (N,)
    test_images: Images  # (M, 3, S, S), M may be 0
    test_labels: Labels  # (M,)


def decode(source: Path, *, strict: bool = False) -> Decoded:
    """Every image of a source.

    Args:
        source: an existing file or folder.
        strict: refuse official batches with a wrong checksum, rather than warn once through `logging`.

    Raises:
        DataError: damaged, unreadable, or in no accepted form.
    """
    with _damage_as_data_error(source):
        decoded = _decode_npz(source) if _is_npz(source) else _decode_members(source, strict)
    _check(source, decoded)
    return decoded


def source_key(source: Path) -> str:
    """A hexadecimal name of a source's present state, found without decoding it.

    An archive is known by its content; a folder by its place and the names, sizes and times of change in it.

    Raises:
        DataError: unreadable, or a folder in no accepted form.
    """
    digest = hashlib.sha256()
    with _damage_as_data_error(source):
        for part in _folder_state(source) if source.is_dir() else _file_state(source):
            digest.update(part)
    return digest.hexdigest()[:24]


# What a source holds.


def _folder_state(folder: Path) -> Iterator[bytes]:
    yield os.fsencode(folder.resolve())
    for name, path in sorted(_folder_files(folder)):
        stat = path.stat()
        yield os.fsencode(f"\n{name}\0{stat.st_size} {stat.st_mtime_ns}")


def _file_state(path: Path) -> Iterator[bytes]:
    stat = path.stat()
    with path.open("rb") as file:
        if stat.st_size <= HASHED_WHOLE:
            yield hashlib.file_digest(file, "sha256").digest()
            return
        yield os.fsencode(f"{path.resolve()}\0{stat.st_size} {stat.st_mtime_ns}")
        yield file.read(2**20)
        file.seek(-(2**20), os.SEEK_END)
        yield file.read()


def _folder_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name within the data set, and place on disk, of every file of an official folder or image tree."""
    for official in (folder, folder / OFFICIAL_FOLDER):
        if (official / TRAIN_BATCHES[0]).is_file():
            return _official_files(official)
    return _tree_files(_tree_root(folder))


def _official_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for name in OFFICIAL_FILES:
        if (folder / name).is_file():
            yield f"{OFFICIAL_FOLDER}/{name}", folder / name


def _tree_files(root: Path) -> Iterator[tuple[str, Path]]:
    for split in ("train", "test"):
        if (root / split).is_dir():
            for parent, _, files in os.walk(root / split, onerror=_raise, followlinks=True):
                for file in files:
                    path = Path(parent, file)
                    yield path.relative_to(root).as_posix(), path


def _raise(error: OSError) -> None:
    raise error


def _tree_root(folder: Path) -> Path:
    if (folder / "train").is_dir():
        return folder
    roots = [child for child in folder.iterdir() if (child / "train").is_dir()]
    if len(roots) != 1:
        raise _unknown_form(folder)
    return roots[0]


def _unknown_form(source: Path) -> DataError:
    return DataError("a data source must be in an accepted form", got=source, remedy=f"Give {ACCEPTED_FORMS}")


@contextmanager
def _damage_as_data_error(source: Path) -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        EOFError,
        tarfile.TarError,
        lzma.LZMAError,
        zlib.error,
        zipfile.BadZipFile,
        NotImplementedError,  # zip: unknown compression
        RuntimeError,  # zip: encrypted
    ) as error:
        raise DataError(
            "a data source must be readable and complete",
            got=f"{source} ({error or type(error).__name__})",
            remedy="Fetch or pack it again, and check its permissions",
        ) from None


# Members.


def _members(source: Path) -> Iterator[Member]:
    if source.is_dir():
        return ((PurePosixPath(name), path.read_bytes) for name, path in _folder_files(source))
    with source.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK"):
        return _zip_members(source)
    if head.startswith((b"\x1f\x8b", b"\xfd7zXZ\0", b"BZh")) or head[257:262] == b"ustar":
        return _tar_members(source)
    raise _unknown_form(source)


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                yield PurePosixPath(info.filename), partial(archive.read, info)


def _tar_members(source: Path) -> Iterator[Member]:
    with tarfile.open(source, "r:*") as archive:
        for info in archive:
            name = PurePosixPath(info.name)
            if info.isfile():
                yield name, partial(_read_tar_member, archive, info)
            elif not info.isdir() and name.suffix.lower() in IMAGE_SUFFIXES:
                raise DataError(
                    "images in a tar must be plain files",
                    got=f"{source}: {name}, a link",
                    remedy="Pack it with tar --hard-dereference --dereference",
                )
        _require_end_of_archive(source, archive)


def _read_tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    assert file is not None  # plain files have content
    return file.read()


def _require_end_of_archive(source: Path, archive: tarfile.TarFile) -> None:
    """Tarfile takes a damaged header for the end; a real end is zeros to the sound end of the file."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    tail = archive.fileobj.read(-1)
    if len(tail) < tarfile.BLOCKSIZE or any(tail):
        raise tarfile.ReadError(f"damaged or cut after {archive.offset} bytes of tar")


def _decode_members(source: Path, strict: bool) -> Decoded:
    batches = _Batches(source)
    tree = _ImageTree(source)
    for name, read in _members(source):
        if name.parent.name == OFFICIAL_FOLDER:
            batches.add(name.name, read)
        elif not any(part.startswith(".") or part == "__MACOSX" for part in name.parts):
            tree.add(name, read)
    return batches.decoded(strict) if batches.found else tree.decoded()


# Official batches.


class _Batches:
    """The official CIFAR-10 batches met so far."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.found: dict[str, dict[Any, Any]] = {}
        self.md5: dict[str, str] = {}

    def add(self, name: str, read: Callable[[], bytes]) -> None:
        if name not in OFFICIAL_FILES:
            return
        content = read()
        try:
            batch = safe_pickle.load(io.BytesIO(content))
        except UserError as error:
            raise self._wrong(name, str(error).rstrip(".")) from None
        if not isinstance(batch, dict):
            raise self._wrong(name, f"a {type(batch).__name__}")
        self.found[name] = batch
        self.md5[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()

    def decoded(self, strict: bool) -> Decoded:
        for name in OFFICIAL_FILES:
            if name not in self.found:
                raise DataError(
                    f"an official {OFFICIAL_FOLDER} must hold {name}",
                    got=f"{self.source} without it",
                    remedy=REFETCH,
                )
        self._verify(strict)
        train = [self._images_and_labels(name) for name in TRAIN_BATCHES]
        test_images, test_labels = self._images_and_labels(TEST_BATCH)
        return Decoded(
            class_names=self._class_names(),
            train_images=np.concatenate([images for images, _ in train]),
            train_labels=np.concatenate([labels for _, labels in train]),
            test_images=test_images,
            test_labels=test_labels,
        )

    def _verify(self, strict: bool) -> None:
        official = official_md5()
        wrong = ", ".join(name for name in sorted(self.md5) if self.md5[name] != official[name])
        if wrong and strict:
            raise DataError(
                "official CIFAR-10 files must have their published checksums",
                got=f"others for {wrong} in {self.source}",
                remedy="Delete that and run again to download it anew",
            )
        if wrong:
            logger.warning("%s is not the official CIFAR-10: other checksums for %s", self.source, wrong)

    def _images_and_labels(self, name: str) -> tuple[Images, Labels]:
        pixels, labels = self.found[name].get(b"data"), self.found[name].get(b"labels")
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (3072,):
            raise self._wrong(name, "no b'data' of uint8 (N, 3072)")
        if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 10 for label in labels):
            raise self._wrong(name, "no b'labels' list of integers in 0..9")
        if len(labels) != len(pixels):
            raise self._wrong(name, f"{len(labels)} labels of {len(pixels)} images")
        return pixels.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)

    def _class_names(self) -> tuple[str, ...]:
        names = self.found[META_BATCH].get(b"label_names")
        if not isinstance(names, list) or not all(isinstance(name, bytes | str) for name in names):
            raise self._wrong(META_BATCH, "no b'label_names' list")
        return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)

    def _wrong(self, name: str, got: str) -> DataError:
        return DataError(f"{name} must be an official CIFAR-10 batch", got=f"{got} in {self.source}", remedy=REFETCH)


REFETCH = "Fetch it again from https://www.cs.toronto.edu/~kriz/cifar.html (python version)"


def official_md5() -> dict[str, str]:
    """The published checksum of each official batch, from torchvision."""
    published = torchvision_cifar10()
    batches = [*published.train_list, *published.test_list]
    return dict(batches) | {published.meta["filename"]: published.meta["md5"]}


def torchvision_cifar10() -> Any:
    """Torchvision's class of the official data, for its URL and checksums; imported late: it takes a second.

    Raises:
        DataError: torchvision is missing, or was built for another torch.
    """
    with fitting_torchvision(DataError, "official CIFAR-10"):
        from torchvision.datasets import CIFAR10
    return CIFAR10


# Image tree.


class _ImageTree:
    """The images of a tree met so far, by split, class and file name."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.images: dict[str, dict[tuple[str, str], Images]] = {"train": {}, "test": {}}
        self.roots: set[str] = set()
        self.size = 0

    def add(self, name: PurePosixPath, read: Callable[[], bytes]) -> None:
        place = self._place(name)
        if place is None:
            return
        root, split, class_name = place
        self.roots.add(root)
        if len(self.roots) > 1:
            raise self._wrong(
                "a source must hold one image tree", name, f"roots {sorted(self.roots)}", "Pack one tree only"
            )
        self.images[split][class_name, name.name] = self._decode(name, read())

    def _place(self, name: PurePosixPath) -> tuple[str, str, str] | None:
        """Enclosing folder, split and class of an image; None for what is no image of the tree."""
        parts = name.parts
        if not any(part in ("train", "test") for part in parts[:2]) or len(parts) < 2:
            return None
        if name.suffix.lower() in OTHER_IMAGE_SUFFIXES:
            raise self._wrong("images must be JPEG or PNG", name, name.suffix, "Convert them")
        if name.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        if len(parts) == 4 and parts[1] in ("train", "test"):
            return parts[0], parts[1], parts[2]
        if len(parts) == 3 and parts[0] in ("train", "test"):
            return "", parts[0], parts[1]
        raise self._wrong(
            "an image must lie in train/<class>/ or test/<class>/",
            name,
            f"depth {len(parts)}",
            "Move it there",
        )

    def _decode(self, name: PurePosixPath, content: bytes) -> Images:
        try:
            pixels = _rgb(content)  # (3, H, W)
        except Exception as error:  # Pillow's decoders raise nearly anything on damaged input
            raise self._wrong(
                "an image must be an undamaged JPEG or PNG of 8 bits a channel",
                name,
                str(error),
                "Replace or remove it",
            ) from None
        height, width = pixels.shape[1:]
        self.size = self.size or height
        if not height == width == self.size:
            raise self._wrong(
                "all images must be square and of one size",
                name,
                f"{width}x{height} where {self.size}x{self.size} was due",
                "Resize them",
            )
        return pixels

    def decoded(self) -> Decoded:
        train, test = self.images["train"], self.images["test"]
        if not train:
            raise _unknown_form(self.source)
        class_names = sorted({class_name for class_name, _ in train})
        for class_name, file in test:
            if class_name not in class_names:
                raise self._wrong(
                    "a class of test/ must be in train/ too",
                    PurePosixPath("test", class_name, file),
                    repr(class_name),
                    "Add or remove it",
                )
        return Decoded(tuple(class_names), *self._stack(train, class_names), *self._stack(test, class_names))

    def _stack(self, images: dict[tuple[str, str], Images], class_names: list[str]) -> tuple[Images, Labels]:
        keys = sorted(images)
        stacked = np.empty((len(keys), 3, self.size, self.size), dtype=np.uint8)
        for row, key in enumerate(keys):
            stacked[row] = images.pop(key)  # released one by one: the set is never held twice
        numbers = {name: number for number, name in enumerate(class_names)}
        return stacked, np.array([numbers[class_name] for class_name, _ in keys], dtype=np.int64)

    def _wrong(self, rule: str, name: PurePosixPath, got: str, remedy: str) -> DataError:
        return DataError(rule, got=f"{self.source}: {name} ({got})", remedy=remedy)


def _rgb(content: bytes) -> Images:
    """Pixels (3, H, W) of a JPEG or PNG."""
    image: Image.Image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode}, more than 8 bits a channel")
    if "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns about palettes with transparency turned straight to RGB
    return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


# Npz.


def _is_npz(source: Path) -> bool:
    if source.is_dir():
        return False
    if source.suffix == ".npz":
        return True
    if not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return "train_images.npy" in archive.namelist()


def _decode_npz(source: Path) -> Decoded:
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in NPZ_NAMES if name in archive}
    except (
        ValueError,
        TypeError,
        AttributeError,
        KeyError,
    ) as error:  # a pickle, a bare .npy, a damaged header
        raise _wrong_npz(source, "plain numpy arrays", str(error)) from None
    if "train_images" not in arrays or "train_labels" not in arrays:
        raise _wrong_npz(source, "train_images and train_labels", f"only {sorted(arrays)} of the known names")
    if ("test_images" in arrays) != ("test_labels" in arrays):
        raise _wrong_npz(source, "both test_images and test_labels, or neither", f"{sorted(arrays)}")
    train_images, train_labels = _npz_split(source, arrays, "train")
    if "test_images" in arrays:
        test_images, test_labels = _npz_split(source, arrays, "test")
    else:
        test_images, test_labels = train_images[:0], train_labels[:0]
    class_names = _npz_class_names(source, arrays.get("class_names"), train_labels)
    return Decoded(class_names, train_images, train_labels, test_images, test_labels)


NPZ_NAMES = ("train_images", "train_labels", "test_images", "test_labels", "class_names")


def _npz_split(source: Path, arrays: dict[str, NDArray[Any]], split: str) -> tuple[Images, Labels]:
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise _wrong_npz(source, f"{split}_images as uint8 (N, 3, S, S)", f"{images.dtype} {images.shape}")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        got = f"{labels.dtype} {labels.shape}"
        raise _wrong_npz(source, f"{split}_labels as integers, one an image", got)
    return np.ascontiguousarray(images), labels.astype(np.int64)


def _npz_class_names(source: Path, given: NDArray[Any] | None, labels: Labels) -> tuple[str, ...]:
    if given is None:
        count = int(labels.max(initial=-1)) + 1
        return CIFAR10_CLASSES if count == 10 else tuple(map(str, range(count)))
    if given.ndim != 1 or given.dtype.kind not in "US":
        raise _wrong_npz(source, "class_names as a list of text", f"{given.dtype} {given.shape}")
    return tuple(given.astype(str).tolist())


def _wrong_npz(source: Path, rule: str, got: str) -> DataError:
    return DataError(f"an .npz must hold {rule}", got=f"{source} ({got})", remedy="Write it again that way")


# Check.


def _check(source: Path, decoded: Decoded) -> None:
    """What every form must fulfil.

    Raises:
        DataError: it does not.
    """

    def require(holds: bool, rule: str, got: object) -> None:
        if not holds:
            raise DataError(rule, got=f"{got} in {source}", remedy="Mend or choose another data source")

    classes = len(decoded.class_names)
    train_shape, test_shape = decoded.train_images.shape, decoded.test_images.shape
    require(train_shape[0] > 0, "a data source must hold training images", "none")
    require(train_shape[2] == train_shape[3] > 0, "images must be square", train_shape[2:])
    require(test_shape[1:] == train_shape[1:], "test images must be as large as training images", test_shape[2:])
    require(classes >= 2, "a data source must have at least 2 classes", classes)
    require(len(set(decoded.class_names)) == classes, "class names must differ", decoded.class_names)
    for split, labels in (("train", decoded.train_labels), ("test", decoded.test_labels)):
        strange = labels[(labels < 0) | (labels >= classes)]
        require(len(strange) == 0, f"{split} labels must be in 0..{classes - 1}", strange[:1].tolist())

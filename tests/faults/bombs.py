"""Small files that ask for gigabytes, files that never end, and links that lead in circles."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cifar.checkpoint import load
from cifar.data.pictures import read_picture
from cifar.data.prepare import prepare
from cifar.kaggle.submission import sample_ids
from cifar.kaggle.test_pickle import read_pickle

GIGABYTES = 10 * 2**30
PIECE = bytes(2**24)
"""Zeros that are compressed once: what follows in a bomb is the same again."""


def as_data(path: Path) -> object:
    """Reads a data source, with its cache beside it."""
    return prepare(path, cache=path.parent / "cache")


def as_picture(path: Path) -> object:
    """Reads a picture that is to be classified."""
    return read_picture(path, 32)


# Pickles.


def sixteen_gigabytes(path: Path) -> None:
    """120 bytes that ask numpy for an array of 16 GB."""
    shape = b"\x8a\x05" + (2**34).to_bytes(5, "little") + b"\x85"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
    path.write_bytes(b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + shape + dtype + b"tR.")


def empty_lists(path: Path, count: int) -> None:
    path.write_bytes(b"\x80\x02(" + b"]" * count + b"l.")


def memoized_dicts(path: Path, count: int) -> None:
    path.write_bytes(b"\x80\x02(" + b"".join(b"}r" + struct.pack("<I", n) for n in range(count)) + b"l.")


def wide_text(path: Path, size: int) -> None:
    """Text in which a single character makes Python keep four bytes of each; the file is a hole on the disk."""
    sign = "\U0001f600".encode()
    with path.open("wb") as file:
        file.write(b"\x80\x02X" + struct.pack("<I", size))
        file.seek(size - len(sign), os.SEEK_CUR)
        file.write(sign + b".")


def hole(path: Path) -> None:
    """Ten gigabytes of zeros that take no room on the disk."""
    with path.open("wb") as file:
        file.truncate(GIGABYTES)


# Archives.


def compressed(path: Path, compress: Callable[[bytes], bytes], start: bytes, piece: bytes = PIECE) -> None:
    """Ten gigabytes: a beginning, then the same piece again and again, as streams one after the other."""
    path.write_bytes(compress(start) + compress(piece) * (GIGABYTES // len(piece)))


def header(name: str, size: int) -> bytes:
    """What a tar says of a file."""
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf()


def deflated(size: int) -> bytes:
    """So many zeros, deflated."""
    packer = zlib.compressobj(wbits=-15)
    piece = packer.compress(PIECE) + packer.flush(zlib.Z_FULL_FLUSH)  # what follows depends on nothing before
    return piece * (size // len(PIECE)) + packer.flush()


def zip_of_zeros(path: Path, name: str, claimed: int) -> None:
    """A zip of one file of ten gigabytes of zeros, which says that there are so many."""
    data, word = deflated(GIGABYTES), min(claimed, 2**32 - 1)
    fields = struct.pack("<HHHHHIIIHH", 20, 0, zipfile.ZIP_DEFLATED, 0, 0, 0, len(data), word, len(name), 0)
    directory = b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name.encode()
    local = b"PK\3\4" + fields + name.encode() + data
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(directory), len(local), 0)
    path.write_bytes(local + directory + end)


def zip_of(path: Path, *names: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, content)


def sparse_member(path: Path) -> None:
    """A tar whose file is ten gigabytes of holes, in the form of GNU tar."""
    info = tarfile.TarInfo("train/cat/0.png")
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = tarfile.GNUTYPE_SPARSE
    block[386:398], block[398:410] = b"00000000000\0", b"00000000000\0"  # the only part with content is empty
    block[483:495] = tarfile.itn(GIGABYTES, 12, tarfile.GNU_FORMAT)  # type: ignore[attr-defined]
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    path.write_bytes(bytes(block) + bytes(20 * 512))


def headers_of_headers(path: Path) -> None:
    """Names that are longer than a header, of names that are, and so on."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 512
    path.write_bytes((info.tobuf() + bytes(512)) * 3000)


def huge_header(path: Path) -> None:
    """A header of two gigabytes."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 2**31
    compressed(path, partial(gzip.compress, compresslevel=1), info.tobuf())


def many_members(path: Path) -> None:
    """Twenty million empty files."""
    compressed(path, lzma.compress, header("notes.txt", 0), header("x", 0) * 2**15)


def long_name(path: Path) -> None:
    with tarfile.open(path, "w:xz") as archive:
        archive.addfile(tarfile.TarInfo("train/" + "a/" * 50_000 + "0.png"))


# Pictures.


def png(side: int, claimed: int | None = None) -> bytes:
    """A black square, grey; perhaps of another size than it says."""
    said = claimed or side
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", said, said, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes((side + 1) * side), 1)),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def huge_png() -> bytes:
    """The beginning of a picture of ten gigabytes."""
    return png(8, claimed=100_000)


def many_pictures(path: Path) -> None:
    """Four gigabytes of pixels in small pictures."""
    content = png(2048)
    with tarfile.open(path, "w") as archive:
        for number in range(300):
            info = tarfile.TarInfo(f"train/{number % 2}/{number}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


# Folders, links and pipes.


def folder_with_pipe(path: Path) -> None:
    (path / "train/cat").mkdir(parents=True)
    os.mkfifo(path / "train/cat/0.png")


def cycle(path: Path) -> None:
    (path / "train/cat").mkdir(parents=True)
    (path / "train/cat/0.png").write_bytes(png(8))
    (path / "train/cat/again").symlink_to(path / "train")
    (path / "train/cat/once more").symlink_to(path / "train")


def deep_links(path: Path) -> None:
    """2**30 ways to one folder, of thirty links in a row."""
    (path / "train/cat").mkdir(parents=True)
    for depth in range(30):
        (path / f"{depth}").mkdir()
        for side in "ab":
            (path / f"{depth}/{side}").symlink_to(path / f"{depth + 1}")
    (path / "30").mkdir()
    (path / "train/cat/in").symlink_to(path / "0")


PICKLE, DATA, PICTURE, WEIGHTS, SAMPLE = read_pickle, as_data, as_picture, load, sample_ids

BOMBS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object], str]] = {
    "120 bytes for 16 GB": (sixteen_gigabytes, PICKLE, "plain data only"),
    "200 kB of lists": (partial(empty_lists, count=200_000), PICKLE, "must be a dict with the key `data`"),
    "2 MB of lists": (partial(empty_lists, count=2_000_000), PICKLE, "more than 1,000,000 values"),
    "4 MB of dicts": (partial(memoized_dicts, count=700_000), PICKLE, "more than 1,000,000 values"),
    "wide text": (partial(wide_text, size=150 * 2**20), PICKLE, "a text of more than 64 MiB"),
    "wide text as large as allowed": (partial(wide_text, size=64 * 2**20), PICKLE, "must be a dict with the key"),
    "pickle of 10 GB": (hole, PICKLE, "more than 160 MiB"),
    "xz of zeros": (partial(compressed, compress=lzma.compress, start=PIECE), DATA, "MiB of zeros"),
    "gz of zeros": (partial(compressed, compress=gzip.compress, start=PIECE), DATA, "MiB of zeros"),
    "bz2 of zeros": (partial(compressed, compress=bz2.compress, start=PIECE), DATA, "MiB of zeros"),
    "member of 10 GB": (
        partial(compressed, compress=lzma.compress, start=header("train/cat/0.png", GIGABYTES)),
        DATA,
        "at most 64 MiB",
    ),
    "other member of 10 GB": (
        partial(compressed, compress=lzma.compress, start=header("notes.txt", GIGABYTES)),
        DATA,
        "50 times its own size",
    ),
    "sparse member": (sparse_member, DATA, "at most 64 MiB"),
    "headers of headers": (headers_of_headers, DATA, "readable and complete"),
    "huge header": (huge_header, DATA, "at most"),
    "many members": (many_members, DATA, "50 times its own size"),
    "zip of zeros": (partial(zip_of_zeros, name="train/cat/0.png", claimed=GIGABYTES), DATA, "at most 64 MiB"),
    "zip that lies": (partial(zip_of_zeros, name="train/cat/0.png", claimed=9000), DATA, "CRC"),
    "npz of zeros": (partial(zip_of_zeros, name="train_images.npy", claimed=GIGABYTES), DATA, "50 times its own size"),
    "weights of zeros": (partial(zip_of_zeros, name="archive/data/0", claimed=GIGABYTES), WEIGHTS, "more in it"),
    "PNG of 10 GB": (lambda path: path.write_bytes(huge_png()), PICTURE, "at most 50,000,000 pixels"),
    "PNG as large as allowed": (lambda path: path.write_bytes(png(7071)), PICTURE, ""),
    "PNG of 10 GB as data": (
        lambda path: zip_of(path, "train/cat/0.png", content=huge_png()),
        DATA,
        "decompression bomb",
    ),
    "pictures of 4 GB": (many_pictures, DATA, "50 times its own size"),
    "names that lead out": (
        lambda path: zip_of(path, "../out.png", "/tmp/out.png", "train/../../out.png", content=png(8)),
        DATA,
        "images must lie in train/<class>/",
    ),
    "name of 100 kB": (long_name, DATA, "at most 4,096 characters"),
    "pipe as data": (os.mkfifo, DATA, "a file or a folder"),
    "pipe as pickle": (os.mkfifo, PICKLE, "no ordinary file"),
    "pipe as weights": (os.mkfifo, WEIGHTS, "no ordinary file"),
    "pipe as sample": (os.mkfifo, SAMPLE, "no ordinary file"),
    "pipe in a folder": (folder_with_pipe, DATA, "no ordinary file"),
    "links in a circle": (cycle, DATA, "go round in circles"),
    "links to links": (deep_links, DATA, "go round in circles"),
}
"""What makes the file, what reads it, and what a user is told; nothing where it is read."""

"""How much may come out of a data source: a few kilobytes of archive or picture can hold many gigabytes of zeros.

What comes out is counted as it comes: files of an archive, with what each entry costs by itself, and pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from cifar.errors import DataError
from cifar.text import printable

TIMES = 50
"""Bytes that may come out of each byte on disk; CIFAR-10 as JPEG gives 3, as PNG of one colour each 40."""
FREE_BYTES = 512 * 2**20
"""Bytes that may come out of any source; CIFAR-10 is 184 million."""
ENTRY_BYTES = 4096
"""What an entry of an archive counts for: Python keeps a kilobyte or two of each."""
FILE_BYTES = 64 * 2**20
"""Bytes of one file within a source at most; a batch of CIFAR-10 is 31 million."""
NAME_CHARACTERS = 4096
"""Characters of a name within a source at most: Linux takes no longer paths."""


class Growth:
    """Counts what comes out of a source.

    Args:
        source: an archive; or a folder, whose files count as they are met.
    """

    def __init__(self, source: Path) -> None:
        self.source = source
        self.on_disk = 0 if source.is_dir() else source.stat().st_size
        self.taken = 0

    def take(self, size: int) -> None:
        """Counts bytes that come out.

        Raises:
            DataError: they are too many for the source's size.
        """
        self.taken += size
        self.check(self.taken)

    def check(self, size: int) -> None:
        """Refuses so many bytes of a source of this size.

        Raises:
            DataError: they are too many.
        """
        if size > max(FREE_BYTES, TIMES * self.on_disk):
            raise DataError(
                f"a data source may hold {TIMES} times its own size, or {FREE_BYTES // 2**20} MiB",
                got=f"more in {self.source}",
                remedy="It is damaged or made to fill the memory: fetch it again from an author whom you trust",
            )

    def entry(self, name: str) -> None:
        """Counts an entry of an archive.

        Raises:
            DataError: there are too many, or its name is too long.
        """
        self.take(ENTRY_BYTES)
        if len(name) > NAME_CHARACTERS:
            raise DataError(
                f"a name in a data source must have at most {NAME_CHARACTERS:,} characters",
                got=f"{len(name):,} in {self.source}",
                remedy="Pack it again with shorter names",
            )

    def file(self, name: object, size: int) -> None:
        """Counts a file that is about to be read.

        Raises:
            DataError: it is too large.
        """
        if size > FILE_BYTES:
            raise DataError(
                f"a file in a data source must have at most {FILE_BYTES // 2**20} MiB",
                got=f"{size:,} bytes in {self.source}: {printable(name, 200)}",
                remedy="Remove it, or make it smaller",
            )
        self.take(size)


class BoundedStream:
    """A decompressed tar, of which no more is read than its size on disk allows, whatever its headers say.

    Args:
        file: the decompressed bytes.
        growth: of the source.
    """

    def __init__(self, file: BinaryIO, growth: Growth) -> None:
        self.stream, self.growth = file, growth

    def read(self, size: int) -> bytes:
        """So many bytes, or those that are left."""
        self.growth.check(self.stream.tell() + size)
        if size > FILE_BYTES:  # a header that names itself so large
            self.growth.file("a header", size)
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        """Goes to a position from the start."""
        self.growth.check(position)
        return self.stream.seek(position)

    def tell(self) -> int:
        """The position from the start."""
        return self.stream.tell()

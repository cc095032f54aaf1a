"""Which file system a path lies on, to tell network folders, where SQLite would be damaged.

A database in write-ahead mode shares memory between its processes, so all of them must be on one host
(https://www.sqlite.org/wal.html); locks on network folders are often not what they promise.
"""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")  # of Linux; elsewhere nothing is known
NETWORK = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "panfs", "smb3", "smbfs"}
    | {"fuse.ceph", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs"}
)


def network_filesystem(path: Path) -> str | None:
    """Type of the network file system that a path lies on, whether it exists or not; None on a local one."""
    place = path.resolve()
    try:
        lines = MOUNTS.read_text().splitlines()
    except OSError:
        return None
    mounts = [mount for mount in map(_mount, lines) if place.is_relative_to(mount[0])]
    _, kind = max(reversed(mounts), key=lambda mount: len(mount[0].parts), default=(place, ""))  # a later mount hides
    return kind if kind in NETWORK else None


def _mount(line: str) -> tuple[Path, str]:
    """Mount point and type of a line of mountinfo: its fifth field, and the first after the separator.

    https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html
    """
    before, _, after = line.partition(" - ")
    point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split()[4])  # such as \040, a space
    return Path(point), after.split()[0]

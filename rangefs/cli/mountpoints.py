"""What is mounted where, as the kernel says in mountinfo, and how to take a place over or give it back."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rangefs.errors import MountError, RangefsError
from rangefs.ops import control

OUR_TYPE = "fuse.rangefs"
MOUNTINFO = Path("/proc/self/mountinfo")
MOST_STACKED = 16  #: dead mounts on top of each other that are cleaned up, one after the other
DEAD = {errno.ENOTCONN, errno.ECONNABORTED}  #: what statfs says on a FUSE mount without a process, or aborted
TOOL_TIMEOUT_S = 30.0
STATFS_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class MountEntry:
    """One line of mountinfo, proc_pid_mountinfo(5).

    user_id  who mounted it, where the file system says so (FUSE does)
    """

    mountpoint: Path
    fstype: str
    source: str
    user_id: int | None

    @property
    def ours(self) -> bool:
        return self.fstype == OUR_TYPE


def parse_mountinfo(text: str) -> Iterator[MountEntry]:
    """All mounts, the later ones on top of the earlier."""
    for line in text.splitlines():
        before, dash, after = line.partition(" - ")
        fields, rest = before.split(" "), after.split(" ")
        if not dash or len(fields) < 5 or len(rest) < 2:
            continue
        user = re.search(r"(?:^|,)user_id=([0-9]+)", rest[-1])
        yield MountEntry(Path(_unescaped(fields[4])), rest[0], _unescaped(rest[1]), int(user[1]) if user else None)


def _unescaped(word: str) -> str:
    """Space, tab, newline and backslash are octal in mountinfo."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def mounts() -> list[MountEntry]:
    """Everything that is mounted, as this process sees it."""
    return list(parse_mountinfo(os.fsdecode(MOUNTINFO.read_bytes())))


def mount_at(path: Path) -> MountEntry | None:
    """The uppermost mount at exactly `path`."""
    found = [entry for entry in mounts() if entry.mountpoint == path]
    return found[-1] if found else None


def server_of(entry: MountEntry) -> control.Peer | None:
    """The process that serves a mount of ours, if one does."""
    user = os.geteuid() if entry.user_id is None else entry.user_id
    try:
        return control.owner_of(control.find_socket(entry.mountpoint, user, os.environ))
    except control.NotServing:
        return None


def claim(mountpoint: Path) -> None:
    """Make sure that `mountpoint` can be mounted on. A mount that a dead rangefs left is taken away.

    Raises `MountError` that says what to do.
    """
    for _ in range(MOST_STACKED):
        entry = mount_at(mountpoint)
        if entry is None:
            break
        _require_dead(entry)
        detach(mountpoint, lazy=True)
    try:
        is_folder = os.path.isdir(mountpoint) or not os.stat(mountpoint)
    except FileNotFoundError as error:
        raise MountError(f"mount point {mountpoint} does not exist: mkdir -p it first") from error
    except OSError as error:
        raise MountError(f"mount point {mountpoint}: {error.strerror}") from error
    if not is_folder:
        raise MountError(f"mount point {mountpoint} is not a directory")
    if os.geteuid() != 0 and not os.access(mountpoint, os.W_OK | os.X_OK):  # fusermount3 asks for the same
        raise MountError(f"mount point {mountpoint} is not yours to write: choose another, or mount as root")


def _require_dead(entry: MountEntry) -> None:
    path = entry.mountpoint
    if entry.ours and (server := server_of(entry)) is not None:
        raise MountError(f"{path} is already a rangefs mount (pid {server.pid}): rangefs umount it first")
    if not is_dead(path):
        raise MountError(f"{path} is already a mount point ({entry.fstype}): unmount it, or choose another")
    if not entry.ours:
        raise MountError(f"{path} is a dead {entry.fstype} mount: umount -l it first")


def is_dead(path: Path) -> bool:
    """Is `path` a FUSE mount whose process is gone ("Transport endpoint is not connected")?

    Asked by statfs, which goes to the process each time: attributes may be answered by the kernel long after its end.
    In a thread, for a process that is stopped answers never, and is not dead.
    """
    answers: list[int] = []

    def ask() -> None:
        try:
            os.statvfs(path)
        except OSError as error:
            answers.append(error.errno or 0)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(STATFS_TIMEOUT_S)
    return any(answer in DEAD for answer in answers)


class Busy(RangefsError):
    """Somebody has a file or a working directory in the mount."""


def detach(mountpoint: Path, *, lazy: bool) -> None:
    """Unmount, by umount for root and by fusermount3 for others.

    lazy  away from the tree at once, gone when its last user leaves

    Raises `Busy`, or `MountError` with the tool's own words.
    """
    if os.geteuid() == 0:
        command = ["umount", *(["-l"] if lazy else []), "--", os.fspath(mountpoint)]
    else:
        command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", os.fspath(mountpoint)]
    environment = {**os.environ, "LC_ALL": "C"}  # its words are looked at
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise MountError(f"{command[0]} is not installed: install the package fuse3") from error
    except subprocess.TimeoutExpired as error:
        raise MountError(f"{command[0]} {mountpoint} hangs: kill the process that serves it") from error
    if done.returncode == 0:
        return
    words = " ".join(done.stderr.split())
    if "busy" in words:
        raise Busy(f"{mountpoint} is busy")
    raise MountError(words or f"{command[0]} failed with status {done.returncode}")


def users_of(mountpoint: Path) -> list[str]:
    """Who holds files or directories of a mount, ``name (pid)``, as far as /proc lets us see."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and _holds(process, mountpoint):
            try:
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            found.append(f"{name} (pid {process.name})")
    return sorted(found)


def _holds(process: Path, mountpoint: Path) -> bool:
    prefix = os.fspath(mountpoint)
    try:
        links = [process / "cwd", process / "root", process / "exe", *(process / "fd").iterdir()]
    except OSError:
        return False
    for link in links:
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target == prefix or target.startswith(prefix + "/"):
            return True
    return False

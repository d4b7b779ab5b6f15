"""The one seam to the operating system: every system call of the store is a method here.

Tests put a recording or failing `Disk` in its place, which is how each crash
point and each failure of each call is reached (``tests/store``). So nothing
else in ``store`` may call ``os`` on a path or a descriptor.

All methods raise `OSError` as the kernel gives it. They block: call them in a
worker thread, but for `preadv` with ``RWF_NOWAIT``, which never waits for the disk.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = 4096  #: what space is counted in: the block of ext4, xfs and btrfs as they are made by default
NOWAIT = os.RWF_NOWAIT

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """What statvfs says, bytes: all of the disk, and what an unprivileged writer may still take."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class FileInfo:
    size_bytes: int
    mtime_ns: int
    is_folder: bool


class Disk:
    """The real one."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def close(self, fd: int) -> None:
        os.close(fd)

    def preadv(self, fd: int, buffer: memoryview | bytearray, offset: int, flags: int = 0) -> int:
        return os.preadv(fd, (buffer,), offset, flags)

    def will_need(self, fd: int) -> None:
        """The whole file will be read soon: a hint, which starts what the page cache lacks of it on its way."""
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_WILLNEED)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        """At most IOV_MAX (1024) buffers. May write less than asked."""
        return os.pwritev(fd, buffers, offset)

    def set_direct(self, fd: int, direct: bool) -> None:
        """Whether writes go past the page cache. Raises `OSError` where the file system has no such thing."""
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_DIRECT if direct else flags & ~os.O_DIRECT)

    def ftruncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def fdatasync(self, fd: int) -> None:
        os.fdatasync(fd)

    def syncfs(self, fd: int) -> None:
        """All dirty data of the file system that `fd` lies on (Linux; errors are reported since 5.8)."""
        if _libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def rename(self, source: Path, target: Path) -> None:
        os.rename(source, target)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        os.mkdir(path, mode)

    def make_private(self, path: Path) -> None:
        """Mode 0700, for a folder that someone else made."""
        os.chmod(path, 0o700)

    def rmdir(self, path: Path) -> None:
        os.rmdir(path)

    def listdir(self, path: Path) -> list[str]:
        return os.listdir(path)

    def info(self, path: Path) -> FileInfo:
        """What lstat says: links are not followed."""
        found = os.lstat(path)
        return FileInfo(found.st_size, found.st_mtime_ns, stat.S_ISDIR(found.st_mode))

    def same_file(self, fd: int, path: Path) -> bool:
        """Is `path` still the file that `fd` has open? False where it is gone."""
        try:
            return os.path.samestat(os.fstat(fd), os.lstat(path))
        except FileNotFoundError:
            return False

    def space(self, path: Path) -> DiskSpace:
        found = os.statvfs(path)
        return DiskSpace(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def lock(self, fd: int) -> bool:
        """Take the file's exclusive lock if it is free. It ends with the descriptor, at the latest with the process."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def pages(size_bytes: int) -> int:
    """How many whole pages hold `size_bytes`."""
    return -(-size_bytes // PAGE)


def write_all(disk: Disk, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
    """Write all of `buffers` at `offset`; returns the bytes written. Short writes are gone on with.

    Raises `OSError`; what was written before stays behind.
    """
    views = [view for view in (memoryview(buffer).cast("B") for buffer in buffers) if view.nbytes]
    done = 0
    while views:
        written = disk.pwritev(fd, views[:1024], offset + done)
        if written <= 0:
            raise OSError(5, "the disk took no byte and gave no reason")
        done += written
        while views and written >= views[0].nbytes:
            written -= views.pop(0).nbytes
        if written:
            views[0] = views[0][written:]
    return done


def is_folder(disk: Disk, path: Path) -> bool:
    """Is there a folder of this name (not a link to one)? Raises `OSError` where the disk can't say."""
    try:
        return disk.info(path).is_folder
    except FileNotFoundError:
        return False


def read_all(disk: Disk, path: Path, limit_bytes: int) -> bytes:
    """A whole file, at most `limit_bytes` of it. Raises `OSError`."""
    fd = disk.open(path, os.O_RDONLY)
    try:
        found = bytearray(min(disk.info(path).size_bytes, limit_bytes))
        done = 0
        view = memoryview(found)
        while done < len(found):
            count = disk.preadv(fd, view[done:], done)
            if count == 0:
                break
            done += count
        return bytes(view[:done])
    finally:
        disk.close(fd)

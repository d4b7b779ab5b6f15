"""A disk in memory that writes down each call, so that the states a power loss may leave can be made from it.

What is assumed of a file system is less than ext4, xfs or btrfs promise:

- Data written to a file since its last fsync may be there, or not, or in part, by sectors of 512 bytes, each write for
  itself; a file's length follows what is there, and what lies between reads as zeros.
- Names made, changed or removed in a folder since that folder's last fsync may be so, or not yet: each name for
  itself, but a name goes through its changes in their order. So one half of a rename may be lost.
- fsync of a file says nothing of its name; fsync of a folder nothing of its files' bytes.
"""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from rangefs.store.disk import Disk, DiskSpace, FileInfo

SECTOR = 512


@dataclass(slots=True)
class Inode:
    """A file or a folder. `stable`: as of its last fsync; the `pending` lists: what came since."""

    number: int
    is_folder: bool
    data: bytearray = field(default_factory=bytearray)
    entries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """A name in a folder now means `target`, None: nothing."""

    folder: int
    name: str
    target: int | None


@dataclass(frozen=True, slots=True)
class Written:
    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    inode: int
    length: int


@dataclass(frozen=True, slots=True)
class Synced:
    """`inode` None: the whole file system's files and folders (syncfs)."""

    inode: int | None
    kind: str


@dataclass(frozen=True, slots=True)
class Made:
    inode: int
    is_folder: bool


@dataclass(frozen=True, slots=True)
class Told:
    """The test's own note: what the store had answered by now."""

    what: object


Step = Entry | Written | Cut | Synced | Made | Told


def kind_of(path: Path) -> str:
    """What a path is to the store: the words by which a test leaves a sync out."""
    parts = path.parts[2:]  # "/", "cache"
    if len(path.parts) < 2:
        return "parent"
    if not parts:
        return "top folder"
    if parts[0] in ("chunks", "staging"):
        return {1: parts[0], 2: "chunk folder" if parts[0] == "chunks" else "staged", 3: "chunk"}[len(parts)]
    return parts[0].split("-")[0]


class MemoryDisk(Disk):
    """The store's seam over memory. `journal` has each change; `skips(kind)` leaves a sync out, as a mistake would."""

    def __init__(self, skips: Callable[[str], bool] = lambda kind: False) -> None:
        self.lock_ = threading.Lock()
        self.inodes: dict[int, Inode] = {1: Inode(1, True)}
        self.journal: list[Step] = []
        self.open_files: dict[int, tuple[int, Path]] = {}
        self.next_inode = 2
        self.next_fd = 1000
        self.skips = skips
        self.free_bytes = 1 << 40

    # -- paths -------------------------------------------------------------

    def _find(self, path: Path) -> Inode | None:
        inode = self.inodes[1]
        for part in path.parts[1:]:
            if not inode.is_folder:
                raise OSError(errno.ENOTDIR, "not a folder", str(path))
            number = inode.entries.get(part)
            if number is None:
                return None
            inode = self.inodes[number]
        return inode

    def _need(self, path: Path) -> Inode:
        found = self._find(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return found

    def _log(self, step: Step) -> None:
        self.journal.append(step)

    def _enter(self, path: Path, target: int | None) -> None:
        parent = self._need(path.parent)
        if target is None:
            del parent.entries[path.name]
        else:
            parent.entries[path.name] = target
        self._log(Entry(parent.number, path.name, target))

    def _make(self, path: Path, is_folder: bool) -> Inode:
        self._need(path.parent)
        inode = Inode(self.next_inode, is_folder)
        self.next_inode += 1
        self.inodes[inode.number] = inode
        self._log(Made(inode.number, is_folder))
        self._enter(path, inode.number)
        return inode

    def tell(self, what: object) -> None:
        with self.lock_:
            self._log(Told(what))

    # -- the seam ----------------------------------------------------------

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        with self.lock_:
            inode = self._find(path)
            if inode is None:
                if not flags & os.O_CREAT:
                    raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
                inode = self._make(path, False)
            if flags & os.O_TRUNC and inode.data:
                inode.data = bytearray()
                self._log(Cut(inode.number, 0))
            self.next_fd += 1
            self.open_files[self.next_fd] = (inode.number, path)
            return self.next_fd

    def close(self, fd: int) -> None:
        with self.lock_:
            del self.open_files[fd]

    def will_need(self, fd: int) -> None:
        """All of it is in memory."""

    def preadv(self, fd: int, buffer: memoryview | bytearray, offset: int, flags: int = 0) -> int:
        with self.lock_:
            data = self.inodes[self.open_files[fd][0]].data
            part = bytes(data[offset : offset + len(buffer)])
            memoryview(buffer)[: len(part)] = part
            return len(part)

    def pwritev(self, fd: int, buffers: Sequence[bytes | memoryview], offset: int) -> int:
        with self.lock_:
            inode = self.inodes[self.open_files[fd][0]]
            data = b"".join(buffers)
            put(inode.data, offset, data)
            self._log(Written(inode.number, offset, data))
            return len(data)

    def ftruncate(self, fd: int, length: int) -> None:
        with self.lock_:
            inode = self.inodes[self.open_files[fd][0]]
            resize(inode.data, length)
            self._log(Cut(inode.number, length))

    def fsync(self, fd: int) -> None:
        with self.lock_:
            number, path = self.open_files[fd]
            kind = kind_of(path)
            if not self.skips(kind):
                self._log(Synced(number, kind))

    fdatasync = fsync

    def syncfs(self, fd: int) -> None:
        with self.lock_:
            if not self.skips("everything"):
                self._log(Synced(None, "everything"))

    def rename(self, source: Path, target: Path) -> None:
        with self.lock_:
            number = self._need(source).number
            self._need(target.parent)
            self._enter(target, number)
            self._enter(source, None)

    def unlink(self, path: Path) -> None:
        with self.lock_:
            if self._need(path).is_folder:
                raise IsADirectoryError(errno.EISDIR, "a folder", str(path))
            self._enter(path, None)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        with self.lock_:
            if self._find(path) is not None:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            self._make(path, True)

    def make_private(self, path: Path) -> None:
        pass

    def rmdir(self, path: Path) -> None:
        with self.lock_:
            if self._need(path).entries:
                raise OSError(errno.ENOTEMPTY, "not empty", str(path))
            self._enter(path, None)

    def listdir(self, path: Path) -> list[str]:
        with self.lock_:
            return list(self._need(path).entries)

    def info(self, path: Path) -> FileInfo:
        with self.lock_:
            inode = self._need(path)
            return FileInfo(4096 if inode.is_folder else len(inode.data), inode.number, inode.is_folder)

    def same_file(self, fd: int, path: Path) -> bool:
        with self.lock_:
            found = self._find(path)
            return found is not None and found.number == self.open_files[fd][0]

    def space(self, path: Path) -> DiskSpace:
        return DiskSpace(1 << 41, self.free_bytes)

    def lock(self, fd: int) -> bool:
        return True

    def files(self, top: Path) -> dict[PurePosixPath, bytes]:
        """All files below `top`, for a test to look at."""
        found: dict[PurePosixPath, bytes] = {}

        def walk(inode: Inode, path: PurePosixPath) -> None:
            for name, number in inode.entries.items():
                child = self.inodes[number]
                if child.is_folder:
                    walk(child, path / name)
                else:
                    found[path / name] = bytes(child.data)

        walk(self._need(top), PurePosixPath())
        return found


def put(data: bytearray, offset: int, new: bytes) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(new)] = new


def resize(data: bytearray, length: int) -> None:
    del data[length:]
    data.extend(bytes(length - len(data)))


class PowerLoss:
    """Walks a journal; at any point of it, makes disks as a power loss there might leave them."""

    def __init__(self, journal: Sequence[Step]) -> None:
        self._journal = journal
        self._stable: dict[int, Inode] = {1: Inode(1, True)}
        self._data: dict[int, list[Written | Cut]] = {}
        self._names: dict[tuple[int, str], list[int | None]] = {}
        self.told: list[object] = []

    def points(self) -> Iterator[int]:
        """Each point at which something changed; the state is then that before the next step."""
        for number, step in enumerate(self._journal):
            match step:
                case Made(inode, is_folder):
                    self._stable[inode] = Inode(inode, is_folder)
                case Written(inode) | Cut(inode):
                    self._data.setdefault(inode, []).append(step)
                case Entry(folder, name, target):
                    self._names.setdefault((folder, name), []).append(target)
                case Synced(inode):
                    self._sync(inode)
                case Told(what):
                    self.told.append(what)
            yield number

    def _sync(self, inode: int | None) -> None:
        for number in [inode] if inode is not None else list(self._data):
            for step in self._data.pop(number, []):
                _apply(self._stable[number].data, step)
        for key in [key for key in self._names if inode is None or key[0] == inode]:
            _name(self._stable[key[0]], key[1], self._names.pop(key)[-1])

    @property
    def pending(self) -> int:
        """How many things are not on the disk for sure."""
        return sum(map(len, self._data.values())) + sum(map(len, self._names.values()))

    def state(self, draw: random.Random, kept: float, torn: float = 0.0) -> MemoryDisk:
        """One disk that may be found: each pending thing is there with chance `kept`, a write in part with `torn`."""
        disk = MemoryDisk()
        disk.inodes = {
            number: Inode(number, inode.is_folder, bytearray(inode.data), dict(inode.entries))
            for number, inode in self._stable.items()
        }
        disk.next_inode = max(disk.inodes) + 1
        for number, steps in self._data.items():
            for step in steps:
                if draw.random() < torn and isinstance(step, Written):
                    _tear(disk.inodes[number].data, step, draw)
                elif draw.random() < kept:
                    _apply(disk.inodes[number].data, step)
        for (folder, name), targets in self._names.items():
            reached = sum(1 for _ in targets if draw.random() < kept) if 0 < kept < 1 else len(targets) * int(kept)
            if reached:
                _name(disk.inodes[folder], name, targets[reached - 1])
        return disk


def _apply(data: bytearray, step: Written | Cut) -> None:
    if isinstance(step, Written):
        put(data, step.offset, step.data)
    else:
        resize(data, step.length)


def _name(folder: Inode, name: str, target: int | None) -> None:
    if target is None:
        folder.entries.pop(name, None)
    else:
        folder.entries[name] = target


def _tear(data: bytearray, step: Written, draw: random.Random) -> None:
    """Some sectors of a write; the length may be there without them."""
    first = step.offset - step.offset % SECTOR
    end = step.offset + len(step.data)
    if draw.random() < 0.5 and len(data) < end:
        resize(data, end)
    for sector in range(first, end, SECTOR):
        start = max(sector, step.offset)
        if draw.random() < 0.5:
            put(data, start, step.data[start - step.offset : sector + SECTOR - step.offset])

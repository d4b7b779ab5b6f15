"""Thin pyfuse3 handlers, and the one boundary where an exception becomes an errno.

Every handler is wrapped by `answers`: what is not a `RangefsError` is a bug of
ours, is logged with its traceback and answered EIO; pyfuse3 would otherwise
take the whole mount down. Cancellation (the mount is ending) passes through.
"""

from __future__ import annotations

import errno
import functools
import logging
import os
import stat as modes
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import pyfuse3
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, InodeT, ReaddirToken, RequestContext

from rangefs.core.entries import Listing
from rangefs.core.repeats import Repeats
from rangefs.core.settings import MountSettings
from rangefs.errors import NotADirectory, NotFound, RangefsError, ReadOnly, Stale
from rangefs.fs.namespace import Namespace
from rangefs.fs.tree import File, Folder, Node
from rangefs.fs.turns import Turns
from rangefs.fs.xattrs import names_of, value_of
from rangefs.read.reader import Bytes, Reader

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

# A version's attributes never change, so the kernel may keep them as long as it likes.
FOREVER_S = 86400.0
# A name that is not there is asked for again after this: shells and loaders ask for many, users create few.
NEGATIVE_S = 2.0
BLOCK_SIZE = 512  # st_blocks counts these: stat(2)
IO_SIZE = 1 << 20  # st_blksize: cat and cp read in pieces of this
BRISK_BYTES = 64 << 10  # who gets more than this and reads on is busy for longer than it takes to wake a worker
# What statfs shows: a file system of 1 PiB with room in it; 0 breaks file managers (PEERS, 13).
STATFS_BLOCK = 4096
STATFS_BLOCKS = (1 << 50) // STATFS_BLOCK
STATFS_FILES = 1 << 40


def answers(
    handler: Callable[Concatenate[Operations, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Operations, P], Coroutine[Any, Any, R]]:
    """The exception boundary of a handler."""

    @functools.wraps(handler)
    async def bounded(self: Operations, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await self._turns.answer(handler(self, *args, **kwargs))
        except FUSEError:
            raise
        except RangefsError as exc:
            raise FUSEError(exc.errno) from exc
        except Exception as exc:
            log.exception("%s failed: a bug in rangefs", handler.__name__)
            raise FUSEError(errno.EIO) from exc

    return bounded


class _Handle:
    """An open file, and where its last read ended."""

    __slots__ = ("file", "until")

    def __init__(self, file: File) -> None:
        self.file = file
        self.until = 0


class Operations(pyfuse3.Operations):
    """What the kernel asks. See pyfuse3's `Operations` for each handler's contract.

    There is no `flush`: nothing is ever written, and at its first ENOSYS the kernel stops asking at every close(2).
    """

    enable_writeback_cache = False

    def __init__(self, namespace: Namespace, reader: Reader, settings: MountSettings, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._names = namespace
        self._nodes = namespace.tree.nodes
        self._reader = reader
        self._settings = settings
        self._files: dict[int, _Handle] = {}
        self._folders: dict[int, tuple[Folder, Listing]] = {}
        self._next_fh = 1
        self._repeats = Repeats()
        self._born_ns = time.time_ns()
        view = settings.view
        self._file_mode = modes.S_IFREG | (view.file_mode & ~view.umask)
        self._folder_mode = modes.S_IFDIR | (0o555 & ~view.umask)

    # -- names and attributes --------------------------------------------------

    @answers
    async def lookup(self, parent: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        folder = self._folder(parent)
        if name == b"..":
            return self._known(folder.parent or folder)
        if name == b".":
            return self._known(folder)
        try:
            return self._known(await self._names.folders.lookup(folder, name))
        except NotFound:
            absent = EntryAttributes()
            absent.st_ino = InodeT(0)
            absent.entry_timeout = min(NEGATIVE_S, self._names.folders.name_lasts_s(folder))
            return absent

    @answers
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        node = self._nodes[inode]
        if isinstance(node, File) and node.size is None:
            await self._names.resolve(node)
        return self._attributes(node)

    @answers
    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, count in inode_list:
            self._names.tree.forget(inode, count)

    @answers
    async def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        data = pyfuse3.StatvfsData()
        data.f_bsize = data.f_frsize = STATFS_BLOCK
        data.f_blocks = data.f_bfree = data.f_bavail = STATFS_BLOCKS
        data.f_files = data.f_ffree = data.f_favail = STATFS_FILES
        data.f_namemax = 255
        return data

    @answers
    async def access(self, inode: InodeT, mode: int, ctx: RequestContext) -> bool:
        return not mode & os.W_OK

    @answers
    async def getxattr(self, inode: InodeT, name: bytes, ctx: RequestContext) -> bytes:
        node = self._nodes[inode]
        value = await value_of(self._names, node, name)
        if value is None:
            raise FUSEError(pyfuse3.ENOATTR)
        return value

    @answers
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[bytes]:
        return names_of(self._nodes[inode])

    # -- folders -----------------------------------------------------------------

    @answers
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> int:
        folder = self._folder(inode)
        self._folders[self._next_fh] = folder, await self._names.folders.listing(folder)
        self._next_fh += 1
        return self._next_fh - 1

    @answers
    async def readdir(self, fh: int, start_id: int, token: ReaddirToken) -> None:
        # Cookies are places in the listing that opendir took: stable for rewinddir and seekdir, whatever changes.
        folder, listing = self._folders[fh]
        for at, name in enumerate((b".", b".."), 1):
            if start_id < at:
                shown = folder if at == 1 else folder.parent or folder
                if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(name), self._attributes(shown), at):
                    return
        for at in range(max(start_id - 2, 0), len(listing.entries)):
            entry = listing.entries[at]
            node = self._names.tree.child(folder, entry)
            if not pyfuse3.readdir_reply(token, pyfuse3.FileNameT(entry.name), self._attributes(node), at + 3):
                self._names.tree.forget(node.ino, 0)
                return
            self._names.tree.remember(node)

    @answers
    async def releasedir(self, fh: int) -> None:
        del self._folders[fh]

    # -- files ---------------------------------------------------------------------

    @answers
    async def open(self, inode: InodeT, flags: int, ctx: RequestContext) -> FileInfo:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise ReadOnly("read-only file system")
        file = self._nodes[inode]
        assert isinstance(file, File)
        await self._names.open(file)
        self._names.opened(file)
        fh = self._next_fh
        self._next_fh += 1
        self._files[fh] = _Handle(file)
        # An inode is one version, so its pages may stay; weak ones get another inode for each epoch of handles.
        return FileInfo(fh=pyfuse3.FileHandleT(fh), keep_cache=not file.unsized, direct_io=file.unsized)

    @answers
    async def read(self, fh: int, off: int, size: int) -> Bytes:  # type: ignore[override]  # it takes any buffer
        began = time.perf_counter()
        handle = self._files[fh]
        file = handle.file
        blob = file.blob
        assert blob is not None
        end = off + size
        if off == 0:
            self._names.visited(file)
        if blob.size is not None and end > blob.size:
            end = blob.size
            if off >= end:
                return b""
        try:
            data = self._reader.read_nowait(blob, off, end)
            if data is None:
                data = await self._reader.read(blob, off, end)
        except RangefsError as exc:
            self._reader.timed(began, exc, 0)
            self._failed(file, off, exc)
            raise
        self._reader.timed(began, None, len(data))
        if len(data) > BRISK_BYTES and off == handle.until:
            self._turns.looks.expect_pause()
        handle.until = end
        return data

    @answers
    async def release(self, fh: int) -> None:
        self._names.closed(self._files.pop(fh).file)

    # -- within ----------------------------------------------------------------------

    def _failed(self, file: File, offset: int, error: RangefsError) -> None:
        """One line for the log: what could not be read, and why. One of many, where a reader tries for ever."""
        unsaid = self._repeats.unsaid((file.parent.key, file.name, type(error)), time.monotonic())
        if unsaid is not None:
            log.log(
                logging.INFO if isinstance(error, Stale) else logging.ERROR,
                "read of %s at %d: %s%s",
                os.fsdecode(file.name),
                offset,
                error,
                f" (and {unsaid} times more since this was last said)" if unsaid else "",
            )
        if isinstance(error, Stale):
            self._names.supersede(file, error)

    def _folder(self, inode: int) -> Folder:
        node = self._nodes[inode]
        if not isinstance(node, Folder):
            raise NotADirectory(os.fsdecode(node.name))
        return node

    def _known(self, node: Node) -> EntryAttributes:
        """The answer to a look-up: the kernel counts it, so do we."""
        self._names.tree.remember(node)
        return self._attributes(node)

    def _attributes(self, node: Node) -> EntryAttributes:
        attr = EntryAttributes()
        attr.st_ino = InodeT(node.ino)
        view = self._settings.view
        attr.st_uid, attr.st_gid = view.uid, view.gid
        attr.st_blksize = IO_SIZE
        attr.entry_timeout = self._names.folders.name_lasts_s(node.parent) if node.parent else FOREVER_S
        if isinstance(node, Folder):
            attr.st_mode = pyfuse3.ModeT(self._folder_mode)
            attr.st_nlink = 2
            attr.attr_timeout = FOREVER_S
            mtime_ns = None
        else:
            attr.st_mode = pyfuse3.ModeT(self._file_mode)
            attr.st_nlink = 1
            attr.st_size = node.size or 0
            attr.st_blocks = -(-attr.st_size // BLOCK_SIZE)
            attr.attr_timeout = FOREVER_S if node.size is not None else float(node.unsized)
            mtime_ns = node.mtime_ns
        attr.st_atime_ns = attr.st_mtime_ns = attr.st_ctime_ns = self._born_ns if mtime_ns is None else mtime_ns
        return attr

"""The least that pyfuse3 can do: one file of zeros, answered from memory. What `tests.bench.reply` compares with.

python -m tests.bench.bare_fuse MOUNTPOINT SIZE     until it is unmounted
"""

from __future__ import annotations

import errno
import stat
import sys
from pathlib import Path

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileInfo, FUSEError, InodeT, RequestContext

NAME = b"file"
FILE = InodeT(2)
FOREVER_S = 86400.0


class Bare(pyfuse3.Operations):
    """A folder with one file."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._zeros = memoryview(bytes(1 << 20))

    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        attr = EntryAttributes()
        attr.st_ino = inode
        attr.st_mode = pyfuse3.ModeT(stat.S_IFREG | 0o444 if inode == FILE else stat.S_IFDIR | 0o555)
        attr.st_size = self._size
        attr.st_nlink = 1
        attr.attr_timeout = attr.entry_timeout = FOREVER_S
        return attr

    async def lookup(self, parent: InodeT, name: bytes, ctx: RequestContext) -> EntryAttributes:
        if name != NAME:
            raise FUSEError(errno.ENOENT)
        return await self.getattr(FILE, ctx)

    async def open(self, inode: InodeT, flags: int, ctx: RequestContext) -> FileInfo:
        return FileInfo(fh=pyfuse3.FileHandleT(1), keep_cache=True)

    async def read(self, fh: int, off: int, size: int) -> memoryview:  # type: ignore[override]  # it takes any buffer
        return self._zeros[:size]


def main(mountpoint: Path, size: int) -> None:
    pyfuse3.init(Bare(size), str(mountpoint), {"ro", "fsname=bare"})
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

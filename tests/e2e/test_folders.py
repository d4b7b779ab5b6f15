"""Big folders, read as libc reads them: each name once, and positions that stay what they were."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.e2e.processes import tool
from tests.mounts import bounded
from tests.servers import Nginx
from tests.trees import age

pytestmark = pytest.mark.mount

COUNT = 5000


class Dirent(ctypes.Structure):
    """struct dirent of glibc on 64-bit Linux"""

    _fields_ = (
        ("d_ino", ctypes.c_uint64),
        ("d_off", ctypes.c_int64),
        ("d_reclen", ctypes.c_ushort),
        ("d_type", ctypes.c_ubyte),
        ("d_name", ctypes.c_char * 256),
    )


libc = ctypes.CDLL(None, use_errno=True)
libc.opendir.argtypes, libc.opendir.restype = [ctypes.c_char_p], ctypes.c_void_p
libc.readdir.argtypes, libc.readdir.restype = [ctypes.c_void_p], ctypes.POINTER(Dirent)
libc.telldir.argtypes, libc.telldir.restype = [ctypes.c_void_p], ctypes.c_long
libc.seekdir.argtypes, libc.seekdir.restype = [ctypes.c_void_p, ctypes.c_long], None
libc.rewinddir.argtypes, libc.rewinddir.restype = [ctypes.c_void_p], None
libc.closedir.argtypes = [ctypes.c_void_p]


def names_from_here(stream: int) -> Iterator[bytes]:
    while entry := libc.readdir(stream):
        yield bytes(entry.contents.d_name)


@pytest.fixture
def crowd(www: Path) -> Path:
    for number in range(COUNT):
        (www / f"name-{number:05}-{'x' * (number % 50)}").write_bytes(b"y" * (number % 10))
    age(www)
    return www


def test_each_name_of_5000_is_listed_once_and_seekdir_and_rewinddir_hold(
    crowd: Path, start_server: StartServer, make_mount: MakeMount
) -> None:
    with make_mount(start_server(Nginx, crowd).url) as mount, bounded(mount.path, 60):
        truth = {os.fsencode(name) for name in os.listdir(crowd)}
        stream = libc.opendir(os.fsencode(mount.path))
        assert stream
        first = list(names_from_here(stream))
        shown = [name for name in first if name not in {b".", b".."}]
        assert len(shown) == len(set(shown)) == COUNT
        assert set(shown) == truth
        libc.rewinddir(stream)
        assert list(names_from_here(stream)) == first
        libc.rewinddir(stream)
        places = {0: libc.telldir(stream)}
        for number, _ in enumerate(names_from_here(stream), 1):
            if number % 487 == 0:
                places[number] = libc.telldir(stream)
        for number in sorted(places, reverse=True):
            libc.seekdir(stream, places[number])
            assert list(names_from_here(stream)) == first[number:], number
        libc.closedir(stream)


def test_a_position_holds_though_the_folder_changes_upstream(
    crowd: Path, start_server: StartServer, make_mount: MakeMount
) -> None:
    with make_mount(start_server(Nginx, crowd).url, metadata_ttl="10ms") as mount, bounded(mount.path, 60):
        stream = libc.opendir(os.fsencode(mount.path))
        reading = names_from_here(stream)
        seen = [next(reading) for _ in range(100)]
        for number in range(0, COUNT, 2):
            next(crowd.glob(f"name-{number:05}-*")).unlink() if number < 40 else None
        (crowd / "aaa-new").write_text("new")
        tool(mount, "ls", str(mount.path))  # another reader makes the mount list anew
        seen.extend(reading)
        assert len(seen) == len(set(seen)), "a name came twice"
        kept = {os.fsencode(name) for name in os.listdir(crowd)} - {b"aaa-new"}
        assert kept <= set(seen), "a name that was there all the time was left out"
        libc.closedir(stream)


def test_inode_numbers_and_types_of_readdir_are_those_of_stat(
    crowd: Path, start_server: StartServer, make_mount: MakeMount
) -> None:
    (crowd / "folder").mkdir()
    with make_mount(start_server(Nginx, crowd).url) as mount:
        for number, entry in enumerate(os.scandir(mount.path)):
            if number % 100 == 0 or entry.name == "folder":
                assert entry.is_dir(follow_symlinks=False) == (entry.name == "folder")
                assert entry.inode() == os.stat(entry.path).st_ino


def test_ls_l_of_5000_names_asks_for_one_page(crowd: Path, start_server: StartServer, make_mount: MakeMount) -> None:
    server = start_server(Nginx, crowd)
    server.forget()
    with make_mount(server.url) as mount:
        lines = tool(mount, "ls", "-l", str(mount.path)).stdout.splitlines()
        assert len(lines) == COUNT + 1
        tool(mount, "find", str(mount.path), "-size", "+5c")
        tool(mount, "du", "-s", str(mount.path))
        assert len(server.log()) <= 3

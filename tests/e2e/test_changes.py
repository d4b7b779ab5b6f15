"""A file that changes upstream: a handle sees one version or ESTALE, no read mixes two, a new open sees the new."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FLAVOURS, ServerMaker, StartServer
from tests.e2e.conftest import MakeMount
from tests.trees import OLD_NS, MiB, content, first_difference

pytestmark = pytest.mark.mount

SIZE = 24 * MiB + 4321
BLOCK = 300_000

# Servers whose versions can be told apart by ETag, by Last-Modified alone, and of which some ignore If-Match.
TOLD_APART = ("nginx", "nginx-noetag", "apache-plain", "lighttpd", "caddy", "rclone")

# lighttpd keeps what it knows of a file, and its descriptor, for up to 2 s: until then it answers under the old ETag,
# with new bytes if the file was written over in place. No client can see that.
SERVED_STALE_S = {"lighttpd": 2.5}


def rename_over(path: Path, body: bytes) -> None:
    """As careful publishers do: readers of the server see all of the old file or all of the new one."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(body)
    fresh.rename(path)


def overwrite(path: Path, body: bytes) -> None:
    """As careless publishers do: the same inode, written over."""
    with path.open("r+b") as file:
        file.write(body)
        file.truncate()


Replace = Callable[[Path, bytes], None]
WAYS: dict[str, Replace] = {"renamed": rename_over, "in-place": overwrite}


def check_read(handle: int, offset: int, version: bytes) -> bool:
    """Read `BLOCK` bytes; False if that ended in ESTALE. Whatever came before it is of `version`.

    A read that meets an error after its first page is cut short by the kernel, and the next one gets the error: so
    a short read counts as an error only if the one after it says so.
    """
    wanted = version[offset : offset + BLOCK]
    seen = b""
    while len(seen) < len(wanted):
        try:
            piece = os.pread(handle, len(wanted) - len(seen), offset + len(seen))
        except OSError as error:
            if error.errno == errno.ESTALE:
                return False
            raise
        assert piece, f"nothing at {offset + len(seen)}, before the end of the file"
        seen += piece
        wrong = first_difference(seen, wanted[: len(seen)])
        assert wrong is None, f"at {offset}: {wrong}"
    return True


def read_until(path: Path, wanted: bytes, limit_s: float) -> None:
    """New opens see `wanted` within `limit_s`; until then the old version or ESTALE."""
    give_up = time.monotonic() + limit_s
    while time.monotonic() < give_up:
        try:
            if path.read_bytes() == wanted:
                return
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
        time.sleep(0.05)
    raise AssertionError(f"{path.name} still shows another version after {limit_s} s")


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("flavour", TOLD_APART)
def test_a_handle_never_sees_two_versions_and_a_new_open_sees_the_new_one(
    flavour: str, way: str, start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    maker: ServerMaker = FLAVOURS[flavour]
    old, new = content("old", SIZE), content("new", SIZE)
    file = www / "file.bin"
    file.write_bytes(old)
    os.utime(file, ns=(OLD_NS, OLD_NS))
    server = start_server(maker, www)
    with make_mount(server.url, metadata_ttl="100ms") as mount:
        mount.expect_log("file.bin")  # a line about the change is welcome
        on_mount = mount.path / "file.bin"
        handle = os.open(on_mount, os.O_RDONLY)
        try:
            assert check_read(handle, 0, old)
            time.sleep(
                0.3
            )  # what was asked ahead has landed: an overwrite in place under a body can't be seen by anyone
            WAYS[way](file, new)
            time.sleep(SERVED_STALE_S.get(flavour, 0))
            outcomes = [check_read(handle, offset, old) for offset in range(BLOCK, SIZE, BLOCK)]
            assert not outcomes[-1], "not all of it can have been fetched before the change"
            read_until(on_mount, new, limit_s=10)
            assert on_mount.stat().st_size == SIZE
        finally:
            os.close(handle)


def test_with_the_default_ttl_a_change_that_was_met_is_seen_by_the_next_open(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    old, new = content("old", SIZE), content("new", SIZE)
    file = www / "file.bin"
    file.write_bytes(old)
    os.utime(file, ns=(OLD_NS, OLD_NS))
    with make_mount(start_server(FLAVOURS["nginx"], www).url) as mount:
        mount.expect_log("file.bin")
        on_mount = mount.path / "file.bin"
        with on_mount.open("rb", buffering=0) as handle:
            assert first_difference(handle.read(BLOCK), old[:BLOCK]) is None
            rename_over(file, new)
            assert not check_read(handle.fileno(), SIZE - BLOCK, old), "those bytes were never fetched"
            assert first_difference(on_mount.read_bytes(), new) is None


def test_a_file_written_twice_in_one_second_is_not_served_stale(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    """Same second, same size: nginx gives both the same ETag. Bytes of so young a file must not be kept."""
    old, new = content("old", 200_000), content("new", 200_000)
    file = www / "file.bin"
    with make_mount(start_server(FLAVOURS["nginx"], www).url, metadata_ttl="100ms") as mount:
        mount.expect_log("file.bin")
        time.sleep(0.2)  # the mount has listed the root: its names hold for their TTL
        while time.time() % 1 > 0.2:
            time.sleep(0.01)
        file.write_bytes(old)
        second = file.stat().st_mtime_ns
        assert first_difference((mount.path / "file.bin").read_bytes(), old) is None
        rename_over(file, new)
        os.utime(file, ns=(second, second))
        time.sleep(0.2)
        read_until(mount.path / "file.bin", new, limit_s=5)


def test_a_file_that_grows_or_shrinks_is_seen_whole(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    file = www / "file.bin"
    with make_mount(start_server(FLAVOURS["nginx"], www).url, metadata_ttl="100ms") as mount:
        mount.expect_log("file.bin")
        for number, size in enumerate((100_000, 300_000, 0, 5, 150_000)):
            body = content(f"version {number}", size)
            rename_over(file, body)
            when = OLD_NS + number * 10**12
            os.utime(file, ns=(when, when))
            time.sleep(0.15)
            read_until(mount.path / "file.bin", body, limit_s=5)
            assert (mount.path / "file.bin").stat().st_size == size


def test_new_and_removed_names_show_once_the_ttl_is_over(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    (www / "old").write_text("old")
    with make_mount(start_server(FLAVOURS["nginx"], www).url, metadata_ttl="100ms") as mount:
        assert os.listdir(mount.path) == ["old"]
        (www / "new").write_text("new")
        (www / "old").unlink()
        time.sleep(0.3)
        assert os.listdir(mount.path) == ["new"]
        assert (mount.path / "new").read_text() == "new"
        with pytest.raises(FileNotFoundError):
            (mount.path / "old").read_text()


def test_a_file_removed_under_an_open_handle_is_stale_not_empty(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    body = content("gone", SIZE)
    (www / "file.bin").write_bytes(body)
    os.utime(www / "file.bin", ns=(OLD_NS, OLD_NS))
    with make_mount(start_server(FLAVOURS["nginx"], www).url, metadata_ttl="100ms") as mount:
        mount.expect_log("file.bin")
        with (mount.path / "file.bin").open("rb", buffering=0) as handle:
            assert first_difference(handle.read(BLOCK), body[:BLOCK]) is None
            (www / "file.bin").unlink()
            assert not check_read(handle.fileno(), SIZE - BLOCK, body), "those bytes were never fetched"
        time.sleep(0.2)
        with pytest.raises(FileNotFoundError):
            (mount.path / "file.bin").read_bytes()

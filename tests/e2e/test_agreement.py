"""What the mount shows is what the server has: every name, every size, every byte, on every server."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import quirks
from tests.e2e.conftest import mounts_in
from tests.e2e.processes import run_readers
from tests.mounts import RangefsMount
from tests.serving import Server
from tests.trees import AWKWARD_NAMES, first_difference

pytestmark = pytest.mark.mount


@pytest.fixture(scope="module")
def any_mount(any_server: Server, scratch: Path) -> Iterator[RangefsMount]:
    """One mount of each server, for all tests of this module."""
    with mounts_in(scratch, limit_s=300) as make, make(any_server.url) as mount:
        yield mount


def read(path: bytes | Path) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def files_below(root: Path) -> list[bytes]:
    """Relative paths of all files."""
    top = os.fsencode(root)
    return sorted(
        os.path.relpath(os.path.join(folder, name), top) for folder, _, names in os.walk(top) for name in names
    )


def test_every_file_of_plain_name_is_there_with_its_size_and_bytes(any_server: Server, any_mount: RangefsMount) -> None:
    mount = any_mount
    for part in ("sizes", "text"):
        truth = any_server.root / part
        assert files_below(mount.path / part) == files_below(truth)
        for name in map(os.fsdecode, files_below(truth)):
            seen = mount.path / part / name
            assert seen.stat().st_size == (truth / name).stat().st_size, name
            assert first_difference(read(seen), read(truth / name)) is None, name
    assert sorted(os.listdir(mount.path)) == sorted(os.listdir(any_server.root))
    assert os.listdir(mount.path / "text" / "empty") == []


def test_awkward_names_are_shown_and_read_as_the_server_has_them(any_server: Server, any_mount: RangefsMount) -> None:
    flavour = any_server.flavour
    shown = {name: quirks.shown_as(flavour, name) for name in AWKWARD_NAMES}
    mount = any_mount
    folder = os.fsencode(mount.path / "names")
    names = {name for name in shown.values() if name is not None}
    assert set(os.listdir(folder)) == {*names, b"folders"}
    assert set(os.listdir(folder + b"/folders")) == names
    for name, as_shown in shown.items():
        if as_shown is None:
            continue
        truth = b"content of " + name + b"\n"
        for path in (as_shown, b"folders/" + as_shown + b"/inside"):
            if quirks.served(flavour, name):
                assert read(os.path.join(folder, path)) == truth, path
            else:
                with pytest.raises(OSError, match=r"Errno") as refused:
                    read(os.path.join(folder, path))
                assert refused.value.errno in {errno.EIO, errno.ENOENT}, path
    if any(not quirks.served(flavour, name) for name in AWKWARD_NAMES):
        mount.expect_log("names/")


def test_thousands_of_seeks_by_several_processes_agree(any_server: Server, any_mount: RangefsMount) -> None:
    name = "big.bin" if any_server.has_ranges else "sizes/size-3145735.bin"
    mount = any_mount
    on_mount, truth = mount.path / name, any_server.root / name
    run_readers(mount, "random_reader.py", [(on_mount, truth, seed, 500) for seed in range(4)], limit_s=100)
    small = mount.path / "sizes" / "size-150000.bin"
    run_readers(
        mount,
        "random_reader.py",
        [(small, any_server.root / "sizes" / small.name, seed, 300) for seed in (8, 9)],
        60,
    )


def test_times_agree_to_the_precision_of_the_listing(any_server: Server, any_mount: RangefsMount) -> None:
    mount = any_mount
    for name in ("size-150000.bin", "size-0.bin"):
        truth = (any_server.root / "sizes" / name).stat().st_mtime
        read(mount.path / "sizes" / name)
        assert abs((mount.path / "sizes" / name).stat().st_mtime - truth) < 60, name

"""Files replaced again and again under many readers, on real servers: no handle ever sees two versions, none old news.

A short form in CI, 30 times as long with RANGEFS_LONG=1. Every version has a Last-Modified of its own, in the past:
two versions that a server describes in the same words can't be told apart by anyone (SEMANTICS §1).
"""

from __future__ import annotations

import errno
import os
import random
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import FLAVOURS, StartServer
from tests.e2e.conftest import mounts_in

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

LONG = os.environ.get("RANGEFS_LONG") == "1"
CHANGES = 800 if LONG else 25
READERS = 4
BLOCK = 4096
BLOCKS = 400
TTL_S = 0.1
NEWS_S = 2.0  # a change older than this must be seen by a new open: the TTL, one round trip, and a busy machine
OLD_S = 1_400_000_000


def body_of(version: int) -> bytes:
    """Each block says which version it is of, and which block it is."""
    return b"".join(struct.pack("<QQ", version, number) * (BLOCK // 16) for number in range(BLOCKS))


def version_of(piece: bytes, offset: int) -> int:
    """The one version that a piece read at a block's edge is of. Fails on a mixture, or on bytes of another place."""
    version = struct.unpack_from("<Q", piece)[0]
    count = -(-len(piece) // BLOCK)
    wanted = b"".join(struct.pack("<QQ", version, offset // BLOCK + n) * (BLOCK // 16) for n in range(count))
    assert piece == wanted[: len(piece)], f"{len(piece)} bytes at {offset} are not all of version {version}"
    return int(version)


@dataclass(slots=True)
class Publication:
    """One file that changes; `dates` says when each version took over."""

    path: Path
    dates: list[float] = field(default_factory=list)

    def publish(self) -> None:
        """The next version, by a rename: readers of the folder see all of one or all of the other."""
        version = len(self.dates)
        fresh = self.path.with_name(f".{self.path.name}.new")
        fresh.write_bytes(body_of(version))
        os.utime(fresh, (OLD_S + 10 * version,) * 2)
        fresh.rename(self.path)
        self.dates.append(time.monotonic())

    def oldest_allowed(self, now: float) -> int:
        """The version that an open at `now` must at least show."""
        return max((version for version, date in enumerate(self.dates) if date < now - NEWS_S), default=0)


def read_one_handle(path: Path, publication: Publication, draw: random.Random) -> int:
    """Open, read here and there, and check; how many reads gave bytes."""
    opened = time.monotonic()
    good, versions = 0, set()
    handle = os.open(path, os.O_RDONLY)
    try:
        assert os.fstat(handle).st_size == BLOCK * BLOCKS
        for _ in range(draw.randint(1, 12)):
            first = draw.randrange(BLOCKS)
            count = draw.choice((1, 1, 8, 33, 100))
            piece = os.pread(handle, count * BLOCK, first * BLOCK)
            assert piece, "nothing before the end"
            versions.add(version_of(piece, first * BLOCK))
            good += 1
            if draw.random() < 0.2:
                time.sleep(draw.random() / 5)
    finally:
        os.close(handle)
        assert len(versions) <= 1, f"one handle saw versions {sorted(versions)}"
        if versions:
            oldest = publication.oldest_allowed(opened)
            assert min(versions) >= oldest, f"version {min(versions)} though {oldest} was out long before the open"
    return good


def keep_reading(path: Path, publication: Publication, seed: int, over: threading.Event, said: list[str]) -> None:
    draw = random.Random(seed)
    good = stale = 0
    while not over.is_set():
        try:
            good += read_one_handle(path, publication, draw)
        except OSError as error:
            if error.errno != errno.ESTALE:
                said.append(repr(error))
                return
            stale += 1
        except AssertionError as wrong:
            said.append(str(wrong))
            return
    if good < 10:
        said.append(f"only {good} good reads, {stale} stale handles")


def run_threads(actions: list[Callable[[], None]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("flavour", ["nginx", "nginx-noetag", "apache-plain", "caddy"])
def test_no_handle_sees_two_versions_and_no_open_sees_old_news(
    flavour: str, start_server: StartServer, scratch: Path, www: Path
) -> None:
    publication = Publication(www / "file.bin")
    publication.publish()
    server = start_server(FLAVOURS[flavour], www)
    draw = random.Random(flavour)
    said: list[str] = []
    over = threading.Event()
    with mounts_in(scratch, limit_s=60 + CHANGES) as make, make(server.url, metadata_ttl=f"{TTL_S}s") as mount:
        mount.expect_log("file.bin")
        on_mount, began = mount.path / "file.bin", time.monotonic()
        readers = run_threads(
            [partial(keep_reading, on_mount, publication, seed, over, said) for seed in range(READERS)]
        )
        for _ in range(CHANGES):
            time.sleep(draw.choice((0.01, 0.1, 0.2, 0.5)))
            publication.publish()
        time.sleep(0.5)
        over.set()
        for reader in readers:
            reader.join()
        assert not said, said
        assert mount.log().count("read of file.bin") <= 1 + (time.monotonic() - began) // 60, "one line a minute"
        last = on_mount.read_bytes()
        assert version_of(last, 0) == CHANGES

"""The real program under load is killed with SIGKILL at random moments, again and again over one cache.

After each kill: every byte read is right, and what a reader had got at least 1.5 s before the kill (the batch
interval is 1 s) is not asked of upstream again; nginx's log is the witness. ``RANGEFS_LONG=1`` kills 200 times.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.servers import Nginx
from tests.serving import Server
from tests.trees import age, content

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

KILLS = 200 if os.environ.get("RANGEFS_LONG") else 20
OLD_S = 1.5
READERS = 4
SIZES = {"small": 3_000, "odd": 77_777, "middle": 1_500_000, "large": 20_000_000}


@dataclass(frozen=True)
class Got:
    """A reader had these bytes at that time (monotonic seconds)."""

    name: str
    start: int
    end: int
    at: float


@dataclass
class Load:
    """Readers of random ranges, until the mount dies under them."""

    mount: RangefsMount
    truth: dict[str, bytes]
    seed: int
    got: list[Got] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def read(self, number: int) -> None:
        draw = random.Random(self.seed * READERS + number)
        while not self.over.is_set():
            name = draw.choice(list(self.truth))
            wanted = self.truth[name]
            start = draw.randrange(len(wanted))
            end = min(len(wanted), start + draw.choice([1, 4096, 100_000, 2_000_000]))
            try:
                with (self.mount.path / name).open("rb", buffering=0) as file:
                    seen = os.pread(file.fileno(), end - start, start)
            except OSError:
                return  # the mount is dead: that is the plan
            if seen != wanted[start : start + len(seen)]:
                self.wrong.append(f"{name} {start}-{end}")
            self.got.append(Got(name, start, start + len(seen), time.monotonic()))

    def run_until_killed(self, seconds: float) -> float:
        """Readers at work for `seconds`, then SIGKILL; returns when that was."""
        threads = [threading.Thread(target=self.read, args=(number,), daemon=True) for number in range(READERS)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        killed_at = time.monotonic()
        self.mount.crash()
        self.over.set()
        self.mount.kill()
        for thread in threads:
            thread.join(30)
        return killed_at


def asked_ranges(server: Server, name: str) -> Iterator[tuple[int, int]]:
    """What upstream was asked for of a file: bodies only."""
    for seen in server.log():
        if seen.method == "GET" and seen.uri == f"/{name}" and seen.body_bytes:
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", seen.range)
            yield (int(found[1]), int(found[2]) + 1) if found else (0, SIZES[name])


def test_kills_cost_little_and_never_a_wrong_byte(scratch: Path, www: Path, start_server: StartServer) -> None:
    truth = {name: content(name, size) for name, size in SIZES.items()}
    for name, data in truth.items():
        (www / name).write_bytes(data)
    age(www)
    server = start_server(Nginx, www)
    draw = random.Random(11)
    with mounts_in(scratch, 60.0 + 20.0 * KILLS) as make_mount:
        mount = make_mount(server.url)
        safe: set[Got] = set()
        for kill in range(KILLS):
            mount.start()
            check_safe(mount, server, truth, sorted(safe, key=lambda got: got.at)[-40:])
            load = Load(mount, truth, kill)
            killed_at = load.run_until_killed(draw.choice([0.1, 0.5, 2.0, 2.5]))
            assert load.wrong == []
            safe |= {got for got in load.got if killed_at - got.at > OLD_S}
        assert safe
        check_whole(mount, truth)


def check_safe(mount: RangefsMount, server: Server, truth: dict[str, bytes], safe: list[Got]) -> None:
    """What was safe is right, and comes from the cache."""
    server.forget()
    for got in safe:
        with (mount.path / got.name).open("rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
            assert os.pread(file.fileno(), got.end - got.start, got.start) == truth[got.name][got.start : got.end]
    for name in truth:
        for start, end in asked_ranges(server, name):
            again = [got for got in safe if got.name == name and max(start, got.start) < min(end, got.end)]
            assert not again, f"{start}-{end} of {name} was fetched again: {again[0]}"


def check_whole(mount: RangefsMount, truth: dict[str, bytes]) -> None:
    """At last every file, whole, and a cache that `verify` finds clean."""
    mount.start()
    for name, data in truth.items():
        assert (mount.path / name).read_bytes() == data
    mount.stop()
    ran = mount.rangefs("cache", "verify", "--cache-dir", str(mount.cache))
    assert ran.returncode == 0, ran.stdout + ran.stderr

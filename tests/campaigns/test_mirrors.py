"""Three servers of one tree that go silent, stop and come back by a drawn schedule, under readers who check it all.

Two are twins; the third has other bytes of some files, under tags of its own. A short form in CI, forty times as long
with RANGEFS_LONG=1; RANGEFS_SEEDS=17,4711 plays just those again.
"""

from __future__ import annotations

import errno
import os
import random
import struct
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.campaigns.test_changing_files import run_threads
from tests.conftest import StartServer
from tests.e2e.conftest import mounts_in
from tests.servers import Nginx
from tests.serving import Server
from tests.trees import age

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

LONG = os.environ.get("RANGEFS_LONG") == "1"
SEEDS = [int(word) for word in os.environ.get("RANGEFS_SEEDS", "").split(",") if word] or [20261124]
STEPS = 600 if LONG else 15
READERS = 4
FILES = 12
BLOCK = 4096
BLOCKS = 800
READ_TIMEOUT_S = 8.0
# Probes are at most 5 s apart, and take a moment: for who has been up for so long there is no excuse.
KNOWN_AFTER_S = 7.0
OUTAGE = {errno.EIO, errno.ETIMEDOUT, errno.ESTALE}
ODD_OLD_S = 1_390_000_000


def body_of(number: int, odd: bool) -> bytes:
    """Each block says which file it is of, which block, and whose."""
    return b"".join(struct.pack("<IIQ", number, odd, block) * (BLOCK // 16) for block in range(BLOCKS))


def is_odd(piece: bytes, number: int, first: int) -> bool:
    """Whose bytes they are. Fails on a mixture, and on bytes of another place or file."""
    odd = bool(struct.unpack_from("<IIQ", piece)[1])
    wanted = body_of(number, odd)[first * BLOCK : first * BLOCK + len(piece)]
    assert piece == wanted, f"{len(piece)} bytes at block {first} of f{number} are not all of one file"
    return odd


@dataclass(slots=True)
class Weather:
    """When each server was up: `changes` has (time, server, up)."""

    changes: list[tuple[float, int, bool]] = field(default_factory=list)

    def up_throughout(self, server: int, begin: float, end: float) -> bool:
        up = True
        for at, which, now_up in list(self.changes):
            if which != server or at > end:
                continue
            if at >= begin and not now_up:
                return False
            up = now_up if at < begin else up
        return up


def read_one(root: Path, draw: random.Random, weather: Weather) -> bool:
    """Open a file, read here and there; True if that gave bytes."""
    number = draw.randrange(FILES)
    began = time.monotonic()
    odds: set[bool] = set()
    try:
        handle = os.open(root / f"f{number}", os.O_RDONLY)
        try:
            assert os.fstat(handle).st_size == BLOCK * BLOCKS
            for _ in range(draw.randint(1, 5)):
                first, count = draw.randrange(BLOCKS - 100), draw.choice((1, 1, 8, 100))
                piece = os.pread(handle, count * BLOCK, first * BLOCK)
                assert piece, "nothing before the end"
                odds.add(is_odd(piece, number, first))
                assert len(odds) == 1, f"one handle of f{number} saw bytes of two servers' versions"
        finally:
            os.close(handle)
    except OSError as failure:
        check_excuse(failure, number, began, weather)
        return False
    return True


def check_excuse(failure: OSError, number: int, began: float, weather: Weather) -> None:
    """An open and its reads may fail only if no server was known to be up that has the file."""
    now = time.monotonic()
    if failure.errno not in OUTAGE:
        raise AssertionError(f"f{number}: {failure!r}")
    assert now - began < 5 * READ_TIMEOUT_S, f"f{number}: an error after {now - began:.1f} s"
    # a handle of the third server's own version ends with it: who may have begun on one is not judged
    excused = number % 2 and not weather.up_throughout(0, began - 60, now)
    twins_up = any(weather.up_throughout(server, began - KNOWN_AFTER_S, now) for server in (0, 1))
    assert excused or not twins_up, f"f{number}: {failure!r} though a server that has it was up"


def keep_reading(root: Path, seed: int, weather: Weather, over: threading.Event, said: list[str]) -> None:
    draw, good = random.Random(seed), 0
    while not over.is_set() and not said:
        try:
            good += read_one(root, draw, weather)
            names = os.listdir(root)
            assert len(names) == FILES, f"{len(names)} names of {FILES}"
        except OSError as error:
            if error.errno not in OUTAGE:
                said.append(repr(error))
        except AssertionError as wrong:
            said.append(str(wrong))
        time.sleep(draw.random() / 20)
    if good < 5 and not said:
        said.append(f"only {good} good reads")


def play(servers: list[Server], draw: random.Random, weather: Weather, over: threading.Event) -> None:
    """Each step changes one server; one of the twins is up most of the time."""
    modes = ["up"] * len(servers)
    for _ in range(STEPS):
        which, mode = draw.randrange(len(servers)), draw.choice(("up", "up", "stopped", "paused"))
        if modes[which] == mode or over.is_set():
            continue
        weather.changes.append((time.monotonic(), which, False))
        set_mode(servers[which], modes[which], mode)
        modes[which] = mode
        if mode == "up":
            weather.changes.append((time.monotonic(), which, True))
        time.sleep(draw.choice((0.3, 1.0, 2.0)))
    for which, server in enumerate(servers):
        set_mode(server, modes[which], "up")
        if modes[which] != "up":
            weather.changes.append((time.monotonic(), which, True))


def set_mode(server: Server, old: str, new: str) -> None:
    if old == "paused":
        server.resume()
    elif old == "stopped" and new != "stopped":
        server.start()
    if new == "stopped":
        server.stop()
    elif new == "paused":
        server.pause()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_servers_come_and_go_each_handle_sees_one_version_and_nothing_is_missing(
    seed: int, start_server: StartServer, scratch: Path, www: Path
) -> None:
    servers: list[Server] = []
    for place in range(3):
        root = www / str(place)
        root.mkdir()
        for number in range(FILES):
            (root / f"f{number}").write_bytes(body_of(number, odd=place == 2 and bool(number % 2)))
        age(root)
        if place == 2:
            for number in range(1, FILES, 2):
                os.utime(root / f"f{number}", (ODD_OLD_S, ODD_OLD_S))
        servers.append(start_server(Nginx, root))
    said: list[str] = []
    over, weather = threading.Event(), Weather()
    print(f"seed {seed}: RANGEFS_SEEDS={seed} plays it again")
    options = {"read_timeout": f"{READ_TIMEOUT_S:g}s", "metadata_ttl": "1s", "cache_size": "24MiB"}
    with (
        mounts_in(scratch, limit_s=120 + 4 * STEPS) as make,
        make(servers[0].url, mirror=[server.url for server in servers[1:]], **options) as mount,
    ):
        mount.expect_log(".")
        os.listdir(mount.path)
        readers = run_threads(
            [partial(keep_reading, mount.path, seed + n, weather, over, said) for n in range(READERS)]
        )
        play(servers, random.Random(seed), weather, over)
        time.sleep(1)
        over.set()
        for reader in readers:
            reader.join()
        assert not said, (seed, said)
        check_recovery(mount.path, seed)
        give_up = time.monotonic() + 30
        while (status := mount.status())["state"] != "ok":
            assert time.monotonic() < give_up, (seed, status["reasons"])
            time.sleep(0.5)
        assert status["upstream"]["in_flight"] == 0


def check_recovery(root: Path, seed: int) -> None:
    """With all of them up each file is the primary's, before long."""
    give_up = time.monotonic() + 30
    for number in range(FILES):
        while True:
            try:
                if (root / f"f{number}").read_bytes() == body_of(number, odd=False):
                    break
            except OSError as failure:
                if failure.errno not in OUTAGE:
                    raise
            assert time.monotonic() < give_up, (seed, f"f{number} is not the primary's after 30 s")
            time.sleep(0.2)

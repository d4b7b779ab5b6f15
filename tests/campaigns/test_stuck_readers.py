"""Readers stuck on a silent file hold up nobody else, can be killed, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.e2e.conftest import MakeMount, mounts_in
from tests.e2e.processes import tool
from tests.mounts import RangefsMount
from tests.origin import Origin
from tests.plans import ALWAYS, Fault, Plan
from tests.serving import Server
from tests.trees import content, first_difference

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

T = TypeVar("T")

STUCK = 120
SIZE = 30_000_000
FAR = 20_000_000  # beyond what one answer brought
READ_TIMEOUT_S = 5
PROMPT_S = 3.0  # what needs no network, on a busy machine
HEALTHY = content("healthy", 300_000)

# Opens and reads; exit status 0 if that failed as it should.
STUCK_READER = """
import errno, os, sys
handle = os.open(sys.argv[1], os.O_RDONLY)
try:
    os.pread(handle, 4096, int(sys.argv[2]))
except OSError as error:
    sys.exit(error.errno not in (errno.EIO, errno.ETIMEDOUT))
sys.exit("bytes came from a silent file")
"""

# Reads a file to its end under a storm of signals; prints the sum.
STORM_READER = """
import hashlib, signal, sys
storm = 0
def count(*_):
    global storm
    storm += 1
signal.signal(signal.SIGALRM, count)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
with open(sys.argv[1], "rb", buffering=0) as file:
    print(hashlib.file_digest(file, "sha256").hexdigest())
signal.setitimer(signal.ITIMER_REAL, 0)
assert storm > 5, storm
"""


@pytest.fixture
def origin() -> Iterator[Origin]:
    with Origin(["run"]) as origin:
        # One answer pins the version, so that it opens; then no more comes.
        silent = Plan([content("silent", SIZE)], faults=(Fault("stall headers", 1, ALWAYS, ("GET",)),))
        origin.folders["run"] = {"silent.bin": silent, "healthy.bin": Plan([HEALTHY])}
        yield origin


@pytest.fixture
def mount(origin: Origin, scratch: Path) -> Iterator[RangefsMount]:
    with mounts_in(scratch, limit_s=180) as make, make(origin.url, read_timeout=f"{READ_TIMEOUT_S}s") as mount:
        mount.expect_log("silent.bin|127.0.0.1")
        with (mount.path / "run" / "silent.bin").open("rb", buffering=0) as file:
            assert file.read(1) == content("silent", SIZE)[:1]
        yield mount


def start_stuck(mount: RangefsMount) -> list[subprocess.Popen[bytes]]:
    path = str(mount.path / "run" / "silent.bin")
    return [
        subprocess.Popen([sys.executable, "-S", "-c", STUCK_READER, path, str(FAR + number * 50_000)])
        for number in range(STUCK)
    ]


def prompt(action: Callable[[], T], what: str) -> T:
    """Do it, and complain if that took longer than a thing that needs no network may take."""
    began = time.monotonic()
    done = action()
    took = time.monotonic() - began
    assert took < PROMPT_S, f"{what} took {took:.1f} s while {STUCK} readers were stuck"
    return done


def wait_until_idle(mount: RangefsMount) -> None:
    """All gauges are back to zero."""
    give_up = time.monotonic() + 20
    while True:
        status = mount.status()
        if status["upstream"]["in_flight"] == 0 and status["memory"]["buffers_bytes"] == 0:
            return
        assert time.monotonic() < give_up, status
        time.sleep(0.2)


def test_stuck_readers_hold_up_nobody_and_fail_by_their_deadline(mount: RangefsMount) -> None:
    folder = mount.path / "run"
    assert (folder / "healthy.bin").read_bytes() == HEALTHY
    began = time.monotonic()
    stuck = start_stuck(mount)
    while time.monotonic() < began + 4:
        assert prompt(lambda: (folder / "silent.bin").stat().st_size, "stat") == SIZE
        assert sorted(prompt(lambda: os.listdir(folder), "ls")) == ["healthy.bin", "silent.bin"]
        assert prompt((folder / "healthy.bin").read_bytes, "a cached read") == HEALTHY
        prompt(lambda: os.statvfs(folder), "statfs")
        time.sleep(0.2)
    assert {reader.wait(3 * READ_TIMEOUT_S + 20) for reader in stuck} == {0}
    wait_until_idle(mount)


def test_killed_stuck_readers_are_gone_by_their_deadline_and_leave_nothing(mount: RangefsMount) -> None:
    stuck = start_stuck(mount)
    time.sleep(2)
    for reader in stuck:
        reader.kill()
    give_up = time.monotonic() + 2 * READ_TIMEOUT_S + 10
    for reader in stuck:
        reader.wait(max(1.0, give_up - time.monotonic()))
    wait_until_idle(mount)
    assert (mount.path / "run" / "healthy.bin").read_bytes() == HEALTHY


def test_a_storm_of_signals_in_the_reader_is_no_read_error(nginx: Server, make_mount: MakeMount) -> None:
    with make_mount(nginx.url) as mount:
        for _ in range(2):  # cold, then from the cache
            seen = tool(mount, sys.executable, "-c", STORM_READER, str(mount.path / "big.bin")).stdout
            wanted = tool(mount, "sha256sum", str(nginx.root / "big.bin")).stdout
            assert seen.split()[0] == wanted.split()[0]
        assert mount.status()["reads"]["errors"] == 0


def test_a_failed_range_is_answered_at_once_when_asked_again(mount: RangefsMount) -> None:
    """The kernel asks twice after a failed read-ahead: the second answer must not cost another deadline."""
    began = time.monotonic()
    with (
        (mount.path / "run" / "silent.bin").open("rb", buffering=0) as file,
        pytest.raises(OSError, match="Errno") as no,
    ):
        os.pread(file.fileno(), 4096, FAR)
    assert no.value.errno in {errno.EIO, errno.ETIMEDOUT}
    assert time.monotonic() - began < 1.5 * READ_TIMEOUT_S


def test_a_file_heals_under_the_same_open_handle(origin: Origin, mount: RangefsMount) -> None:
    plan = origin.folders["run"]["silent.bin"]
    with (mount.path / "run" / "silent.bin").open("rb", buffering=0) as file:
        with pytest.raises(OSError, match="Errno"):
            os.pread(file.fileno(), 4096, FAR)
        plan.heal()
        time.sleep(1.5)  # a failure is remembered for about a second
        seen = file.read()
    assert first_difference(seen, plan.bodies[0]) is None

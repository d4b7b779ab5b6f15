"""Real faults under readers: servers that stop or fall silent, cables, addresses, names, full disks, a process asleep.

Each read gives the right bytes or a clear error by its deadline; what is cached is there throughout; and all is well
again by itself. Needs root, for a network of its own (`tests.beyond`). A short form in CI, longer and in several
rounds with RANGEFS_LONG=1.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.beyond import Beyond, FarMount, FarNginx, Unsupported, run
from tests.conftest import starter
from tests.mounts import Option
from tests.trees import MiB, age, content, first_difference

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

LONG = os.environ.get("RANGEFS_LONG") == "1"
ROUNDS = 8 if LONG else 1
READ_TIMEOUT_S = 3
CUT_S = 15.0 if LONG else 4.0  # longer than a read waits
# A read that fails: its deadline, the kernel's second try of what was read ahead, and a busy machine.
LATEST_S = 2 * READ_TIMEOUT_S + 4.0
PROMPT_S = 3.0  # what is cached, of a silent server
SIZE = 48 * MiB
FAR = content("far", SIZE)
WARM = content("warm", 2 * MiB)
READERS = 3
OUTAGE = {errno.EIO, errno.ETIMEDOUT}


@dataclass(slots=True)
class Seen:
    """What readers met."""

    good: int = 0
    failed: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def progress(self, more: int, limit_s: float) -> None:
        """Wait for so many more good reads."""
        give_up, wanted = time.monotonic() + limit_s, self.good + more
        while self.good < wanted:
            assert not self.wrong, self.wrong
            assert time.monotonic() < give_up, f"no good read for {limit_s} s: {self}"
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class World:
    """A mount under readers: of what is cached (`warm`), and of what is not (`cold`)."""

    beyond: Beyond
    server: FarNginx
    mount: FarMount
    warm: Seen
    cold: Seen


@pytest.fixture(scope="module")
def beyond() -> Iterator[Beyond]:
    if os.geteuid() != 0:
        pytest.skip("only root can make a network to break")
    with ExitStack() as stack:
        try:
            made = stack.enter_context(Beyond())
        except Unsupported as refused:
            pytest.skip(f"no network of its own: {refused}")
        yield made


@pytest.fixture(scope="module")
def server(beyond: Beyond, scratch: Path) -> Iterator[FarNginx]:
    www = scratch / "far"
    www.mkdir()
    (www / "far.bin").write_bytes(FAR)
    (www / "warm.bin").write_bytes(WARM)
    age(www)
    with ExitStack() as stack:
        # Slow enough that something is always on its way.
        made = starter(stack, scratch)(partial(FarNginx, beyond, extra="limit_rate 2m;"), www)
        assert isinstance(made, FarNginx)
        yield made


@contextmanager
def threads(*actions: Callable[[threading.Event], None]) -> Iterator[None]:
    over = threading.Event()
    running = [threading.Thread(target=action, args=(over,)) for action in actions]
    for thread in running:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in running:
            thread.join()


def timed(seen: Seen, action: Callable[[], bytes], wanted: Callable[[], bytes]) -> None:
    """One read, checked."""
    began = time.monotonic()
    try:
        data = action()
    except OSError as error:
        seen.failed += 1
        seen.errors.append(f"{error} after {time.monotonic() - began:.1f} s")
        if error.errno not in OUTAGE:
            seen.wrong.append(repr(error))
    else:
        seen.good += 1
        if (at := first_difference(data, wanted())) is not None:
            seen.wrong.append(f"wrong bytes, {at}")
    seen.slowest_s = max(seen.slowest_s, time.monotonic() - began)


def read_warm(path: Path, seen: Seen, over: threading.Event) -> None:
    while not over.is_set():
        timed(seen, path.read_bytes, lambda: WARM)
        time.sleep(0.1)


def read_fully(handle: int, start: int, size: int) -> bytes:
    """As read(2) is to be used: what it gives before a page that fails is right, and the next call has the error."""
    data = b""
    while len(data) < size and (piece := os.pread(handle, size - len(data), start + len(data))):
        data += piece
    return data


def read_cold(path: Path, seed: int, seen: Seen, over: threading.Event) -> None:
    """Here and there, by a handle that was opened in good times."""
    draw = random.Random(seed)
    with path.open("rb", buffering=0) as file:
        while not over.is_set():
            start, size = draw.randrange(SIZE), draw.choice((1, 4096, 70_000, 300_000))
            timed(
                seen,
                partial(read_fully, file.fileno(), start, size),
                partial(FAR.__getitem__, slice(start, start + size)),
            )
            time.sleep(draw.random() / 10)


@contextmanager
def world(
    scratch: Path, beyond: Beyond, server: FarNginx, name: str, cache: Path | None = None, **options: Option
) -> Iterator[World]:
    """A mount under readers, in good times."""
    base = scratch / f"far-{name}"
    mount = FarMount(base, server, metadata_ttl="500ms", **options)
    mount.cache = cache or mount.cache
    guard = threading.Timer(60 + 2 * ROUNDS * CUT_S, mount.kill)  # blocked readers return, and fail
    guard.start()
    try:
        mount.expect_log(".")  # faults are worth warnings
        with mount:
            assert (mount.path / "warm.bin").read_bytes() == WARM
            found = World(beyond, server, mount, Seen(), Seen())
            cold = [partial(read_cold, mount.path / "far.bin", seed, found.cold) for seed in range(READERS)]
            with threads(partial(read_warm, mount.path / "warm.bin", found.warm), *cold):
                found.cold.progress(10, 10)
                yield found
            assert not found.cold.wrong, found.cold.wrong
            assert not found.warm.wrong, found.warm.wrong
    finally:
        guard.cancel()
        guard.join()


def wait_until_well(mount: FarMount) -> None:
    give_up = time.monotonic() + 20
    while (status := mount.status())["state"] != "ok":
        assert time.monotonic() < give_up, status["reasons"]
        time.sleep(0.2)


# -- faults that outlast a read's deadline ------------------------------------------------


@contextmanager
def stopped(world: World) -> Iterator[None]:
    world.server.stop()
    yield
    world.server.start()


@contextmanager
def paused(world: World) -> Iterator[None]:
    world.server.pause()
    yield
    world.server.resume()


@contextmanager
def unplugged(world: World) -> Iterator[None]:
    world.beyond.cable(False)
    yield
    world.beyond.cable(True)


@contextmanager
def nameless(world: World) -> Iterator[None]:
    """The name is not known any more, and the connections that do not need it are gone."""
    world.mount.hosts(None)
    world.server.stop()
    world.server.start()
    yield
    world.mount.hosts(world.server.host)


@pytest.mark.parametrize("fault", [stopped, paused, unplugged, nameless])
def test_reads_are_right_or_fail_in_time_and_what_is_cached_is_there(
    fault: Callable[[World], ExitStack], beyond: Beyond, server: FarNginx, scratch: Path
) -> None:
    name = fault.__name__
    with world(scratch, beyond, server, name, read_timeout=f"{READ_TIMEOUT_S}s") as found:
        for _ in range(ROUNDS):
            with fault(found):
                time.sleep(CUT_S)
            found.cold.progress(10, 15)
            wait_until_well(found.mount)
        assert found.warm.failed == 0, found.warm.errors
        assert found.warm.slowest_s < PROMPT_S
        assert found.cold.failed > 0, "it was a fault indeed"
        assert found.cold.slowest_s < LATEST_S


def fill(path: Path) -> None:
    """Write until the disk is full."""
    with path.open("wb", buffering=0) as file:
        with pytest.raises(OSError, match="No space left"):
            os.posix_fallocate(file.fileno(), 0, 1 << 40)
        with suppress(OSError):
            while file.write(bytes(4096)):
                pass


def test_a_full_disk_at_the_same_time_changes_nothing_of_that(beyond: Beyond, server: FarNginx, scratch: Path) -> None:
    cache = scratch / "small-disk"
    cache.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", str(cache))
    try:
        options = {"read_timeout": f"{READ_TIMEOUT_S}s", "min_free": "0%"}
        with world(scratch, beyond, server, "full", cache / "cache", **options) as found:
            for number in range(ROUNDS):
                with unplugged(found):
                    fill(cache / f"other-{number}")
                    time.sleep(CUT_S)
                found.cold.progress(10, 15)
                (cache / f"other-{number}").unlink()
            assert found.cold.slowest_s < LATEST_S
            assert found.warm.slowest_s < LATEST_S
    finally:
        run("umount", "-l", str(cache))


# -- faults that a read can sit out -----------------------------------------------------------


def restarted(world: World) -> None:
    world.server.stop()
    world.server.start()


def plugged_out_and_in(world: World) -> None:
    world.beyond.cable(False)
    time.sleep(1.5)
    world.beyond.cable(True)


def we_moved(world: World) -> None:
    """Another network: our end of every connection is not ours any more."""
    world.beyond.settle(9)
    time.sleep(1)
    world.cold.progress(20, 15)
    world.beyond.settle(1)


def they_moved(world: World) -> None:
    """The server is found at another address now, and not at the old one."""
    for number in (3, 2):
        world.mount.hosts(world.beyond.address(number))
        world.beyond.settle_theirs(number)
        if number == 3:
            time.sleep(1)
            world.cold.progress(20, 15)


@pytest.mark.parametrize("fault", [restarted, plugged_out_and_in, we_moved, they_moved])
def test_a_fault_within_the_deadline_is_no_error(
    fault: Callable[[World], None], beyond: Beyond, server: FarNginx, scratch: Path
) -> None:
    with world(scratch, beyond, server, fault.__name__, read_timeout="20s") as found:
        for _ in range(ROUNDS):
            fault(found)
            found.cold.progress(20, 20)
        assert found.cold.errors == []
        assert found.warm.errors == []


def test_deadlines_do_not_run_out_while_the_process_is_asleep(beyond: Beyond, server: FarNginx, scratch: Path) -> None:
    with world(scratch, beyond, server, "asleep", read_timeout=f"{READ_TIMEOUT_S}s") as found:
        for _ in range(ROUNDS):
            server.pause()
            time.sleep(0.5)  # by now every reader waits
            os.kill(found.mount.pid, signal.SIGSTOP)
            server.resume()
            time.sleep(READ_TIMEOUT_S + 1)
            os.kill(found.mount.pid, signal.SIGCONT)
            found.cold.progress(10, 15)
        assert found.cold.errors == []
        assert found.warm.errors == []


# -- and leaving ----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["umount", "rangefs umount", "SIGTERM"])
def test_a_mount_of_a_silent_server_ends_at_once(way: str, beyond: Beyond, server: FarNginx, scratch: Path) -> None:
    mount = FarMount(scratch / f"leave-{way.replace(' ', '-')}", server)
    mount.expect_log(".")
    with mount:
        with (mount.path / "far.bin").open("rb", buffering=0) as file:
            assert file.read(10) == FAR[:10]
            server.pause()
            # Read ahead for a process that does not wait for it.
            os.posix_fadvise(file.fileno(), SIZE // 2, MiB, os.POSIX_FADV_WILLNEED)
        began = time.monotonic()
        try:
            if way == "SIGTERM":
                os.kill(mount.pid, signal.SIGTERM)
            elif way == "umount":
                run("umount", str(mount.path))
            else:
                assert mount.rangefs("umount", str(mount.path)).returncode == 0
            assert mount.wait() == 0
            assert time.monotonic() - began < 5
        finally:
            server.resume()
        mount.kill()

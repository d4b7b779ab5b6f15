"""Killed at random moments under load, its cache damaged behind its back: never a wrong byte, and cheap to resume.

Six rounds in CI, 300 with RANGEFS_LONG=1; the seed of each round is in its failure.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import starter
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.servers import Nginx
from tests.serving import Server
from tests.trees import MiB, age, content, first_difference

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

LONG = os.environ.get("RANGEFS_LONG") == "1"
ROUNDS = 300 if LONG else 6
READERS = 4
SIZE = 16 * MiB
NAMES = ("a.bin", "b.bin", "c.bin")
BATCH_S = 1.5  # what is older than the batch interval, and some, must survive


@pytest.fixture(scope="module")
def origin(scratch: Path) -> Iterator[Server]:
    root = scratch / "kills"
    root.mkdir()
    for name in NAMES:
        (root / name).write_bytes(content(name, SIZE))
    age(root)
    with ExitStack() as stack:
        yield starter(stack, scratch)(Nginx, root)


@dataclass(slots=True)
class Load:
    """Readers at random places of the files, until the mount is killed under them."""

    mount: RangefsMount
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def read(self, seed: int) -> None:
        draw = random.Random(seed)
        truths = {name: content(name, SIZE) for name in NAMES}
        while not self.over.is_set():
            name, start, count = draw.choice(NAMES), draw.randrange(SIZE), draw.choice((4096, 50_000, 2 * MiB))
            try:
                with (self.mount.path / name).open("rb", buffering=0) as file:
                    seen = os.pread(file.fileno(), count, start)
            except OSError:
                if not self.over.is_set():
                    time.sleep(0.05)
                    if not self.over.is_set():
                        self.wrong.append(f"{name} at {start}: an error before the kill")
                return
            wanted = truths[name][start : start + len(seen)]
            if wrong := first_difference(seen, wanted):
                self.wrong.append(f"{name} at {start}: {wrong}")


def check_all(mount: RangefsMount, what: str) -> None:
    for name in NAMES:
        wrong = first_difference((mount.path / name).read_bytes(), content(name, SIZE))
        assert wrong is None, f"{what}: {name}: {wrong}"


def test_kills_at_random_moments_under_load_never_show_a_wrong_byte(origin: Server, scratch: Path) -> None:
    with mounts_in(scratch, limit_s=60 + 20 * ROUNDS) as make:
        mount = make(origin.url)
        mount.expect_log("recover|dropped")
        mount.start()
        for seed in range(ROUNDS):
            draw = random.Random(seed)
            load = Load(mount)
            readers = [threading.Thread(target=load.read, args=(seed * READERS + n,)) for n in range(READERS)]
            for reader in readers:
                reader.start()
            time.sleep(draw.random() * 1.5)
            load.over.set()
            mount.kill()
            for reader in readers:
                reader.join()
            assert not load.wrong, f"round {seed}: {load.wrong}"
            mount.start()
            if seed % 5 == 4:
                check_all(mount, f"round {seed}")
        check_all(mount, "the end")
        mount.check_log()


def test_what_was_read_before_a_kill_under_load_is_not_fetched_again(origin: Server, scratch: Path) -> None:
    with mounts_in(scratch, limit_s=120) as make:
        mount = make(origin.url)
        mount.start()
        (mount.path / "a.bin").read_bytes()
        time.sleep(BATCH_S)
        load = Load(mount)  # more is being written as it dies
        reader = threading.Thread(target=load.read, args=(1,))
        reader.start()
        time.sleep(0.3)
        load.over.set()
        mount.kill()
        reader.join()
        origin.forget()
        mount.start()
        assert first_difference((mount.path / "a.bin").read_bytes(), content("a.bin", SIZE)) is None
        assert origin.body_bytes("/a.bin") == 0


# -- rot -----------------------------------------------------------------------------------------


def flip_a_bit(path: Path, draw: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)


def cut_off(path: Path, draw: random.Random) -> None:
    os.truncate(path, draw.randrange(path.stat().st_size + 1))


def zero_a_page(path: Path, draw: random.Random) -> None:
    with path.open("r+b") as file:
        file.seek(draw.randrange(path.stat().st_size + 1) // 4096 * 4096)
        file.write(bytes(4096))


def append_rubbish(path: Path, draw: random.Random) -> None:
    with path.open("ab") as file:
        file.write(draw.randbytes(5000))


def remove(path: Path, draw: random.Random) -> None:
    path.unlink()


def empty(path: Path, draw: random.Random) -> None:
    path.write_bytes(b"")


def swap(path: Path, draw: random.Random) -> None:
    other = draw.choice([one for one in path.parent.iterdir() if one.is_file()])
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


Damage = Callable[[Path, random.Random], None]
DAMAGES: tuple[Damage, ...] = (flip_a_bit, cut_off, zero_a_page, append_rubbish, remove, empty, swap)


@pytest.mark.parametrize("when", ["while mounted", "between mounts"])
def test_a_damaged_cache_never_shows_a_wrong_byte_nor_an_error(when: str, origin: Server, scratch: Path) -> None:
    with mounts_in(scratch, limit_s=60 + 20 * ROUNDS) as make:
        mount = make(origin.url)
        mount.expect_log(".")  # an operator should hear of it
        for seed in range(ROUNDS):
            draw = random.Random(seed)
            mount.start()
            check_all(mount, f"round {seed}, before")
            time.sleep(0.2)
            if when == "between mounts":
                draw.choice((mount.kill, mount.stop))()
            files = sorted(path for path in mount.cache.rglob("*") if path.is_file() and path.stat().st_size)
            done = []
            for path in draw.sample(files, min(len(files), draw.choice((1, 3, 10)))):
                damage = draw.choice(DAMAGES)
                if path.exists():
                    damage(path, draw)
                    done.append(f"{damage.__name__} {path.relative_to(mount.cache)}")
            if when == "between mounts":
                mount.start()
            else:
                drop_kernel_pages(mount)
            check_all(mount, f"round {seed}, after {done}")
            assert mount.alive
            assert "Traceback" not in mount.log()
            mount.kill()


def drop_kernel_pages(mount: RangefsMount) -> None:
    for name in NAMES:
        with (mount.path / name).open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_cache_that_is_rubbish_altogether_is_a_cold_cache(origin: Server, scratch: Path) -> None:
    with mounts_in(scratch, limit_s=120) as make:
        mount = make(origin.url)
        mount.expect_log(".")
        with mount:
            check_all(mount, "cold")
        draw = random.Random(0)
        for path in sorted(mount.cache.rglob("*")):
            if path.is_file():
                path.write_bytes(draw.randbytes(min(path.stat().st_size, 100_000)))
        with mount:
            check_all(mount, "after")
            assert mount.status()["state"] in {"ok", "degraded"}

"""Readers of every kind over files that change under faults, and what they must never see. See `test_soak`."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.breaks import AT_CONNECT, BREAKS
from tests.campaigns.oracle import GONE, PERMITTED
from tests.mounts import RangefsMount
from tests.origin import Origin
from tests.plans import LIES, Fault, Plan
from tests.trees import first_difference
from tests.wires import ODD_WIRES

ALLOWED = PERMITTED | {errno.ENOENT}
# Left out: what no client can see, and what passes for another version of the file, consistent in itself.
UNSEEN = {
    "garbage body",
    "garbage chunk",
    "another etag",
    "no validators",
    "broken etag",
    "login page",
    "gzip",
    "longer range",
}
KINDS = sorted({*BREAKS, *ODD_WIRES, *LIES} - UNSEEN)
SIZES = (0, 1, 5_000, 70_000, 300_001, 1_200_000, 2_000_003, 9_000_000, 9_000_001, 14_000_000)
CHANGING = 300_001  # files up to this size change: every version ever published is kept to compare with

# Touches pages of a mapping; a page that can't be had is a SIGBUS, as on any disk that fails.
MAPPER = """
import mmap, os, sys
handle = os.open(sys.argv[1], os.O_RDONLY)
size = os.fstat(handle).st_size
if size:
    with mmap.mmap(handle, size, prot=mmap.PROT_READ) as held:
        sum(held[at] for at in range(0, size, 40_000))
"""


@dataclass
class MixedLoad:
    """Threads that read, and one that makes trouble. `complaints` must stay empty.

    folder  of `origin` whose plans are read and changed
    """

    origin: Origin
    mount: RangefsMount
    folder: str
    seed: int
    complaints: list[str] = field(default_factory=list)
    good: int = 0
    failed: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self, seconds: float) -> None:
        """All of them for so long; returns when the last has ended."""
        self._over.clear()
        kinds: list[Callable[[random.Random], None]] = [
            *(2 * [self.read_in_sequence]),
            *(4 * [self.read_here_and_there]),
            *(2 * [self.look_around]),
            self.map_pages,
            self.die_while_reading,
            *(2 * [self.make_trouble]),
        ]
        threads = [
            threading.Thread(target=self._keep, args=(kind, self.seed * 100 + number))
            for number, kind in enumerate(kinds)
        ]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        self._over.set()
        for thread in threads:
            thread.join()
        self.heal()

    def heal(self) -> None:
        self.origin.break_connections()
        self.origin.listen()
        for plan in self.plans.values():
            plan.heal()

    @property
    def plans(self) -> dict[str, Plan]:
        return self.origin.folders[self.folder]

    def _keep(self, kind: Callable[[random.Random], None], seed: int) -> None:
        draw = random.Random(seed)
        while not self._over.is_set():
            try:
                kind(draw)
            except OSError as error:
                self.failed += 1
                if error.errno not in ALLOWED:
                    self.complaints.append(f"{kind.__name__}: {error!r}")
            except AssertionError as wrong:
                self.complaints.append(f"{kind.__name__}: {wrong}")
            time.sleep(draw.random() / 20)

    # -- readers -----------------------------------------------------------------------

    def _pick(self, draw: random.Random) -> tuple[Path, Plan]:
        name = draw.choice(sorted(self.plans))
        return self.mount.path / self.folder / name, self.plans[name]

    def read_in_sequence(self, draw: random.Random) -> None:
        path, plan = self._pick(draw)
        with path.open("rb", buffering=0) as file:
            seen = b""
            while piece := file.read(131_072):
                seen += piece
                if draw.random() < 0.02:
                    break
        self._must_be_of_one_version(plan, [(0, seen)], path)

    def read_here_and_there(self, draw: random.Random) -> None:
        path, plan = self._pick(draw)
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
            size = os.fstat(handle).st_size
            places = [draw.randrange(size + 1) for _ in range(draw.randint(1, 10))]
            pieces = [(at, os.pread(handle, draw.choice((1, 4096, 60_000)), at)) for at in places]
        finally:
            os.close(handle)
        self._must_be_of_one_version(plan, pieces, path)

    def _must_be_of_one_version(self, plan: Plan, pieces: list[tuple[int, bytes]], path: Path) -> None:
        bodies = list(plan.bodies)
        for body in reversed(bodies):
            if all(body[at : at + len(seen)] == seen for at, seen in pieces):
                self.good += 1
                return
        at, seen = pieces[0]
        wrong = first_difference(seen, bodies[-1][at : at + len(seen)])
        raise AssertionError(f"{path.name}: {len(pieces)} pieces of no version of {len(bodies)}: at {at}, {wrong}")

    def look_around(self, draw: random.Random) -> None:
        """As find and ``ls -l`` do; a name that is not there is asked for too."""
        for place, _, names in os.walk(self.mount.path, onerror=self._walk_failed):
            for name in names:
                os.lstat(os.path.join(place, name))
        if os.path.lexists(self.mount.path / self.folder / f"missing-{draw.random()}"):
            self.complaints.append("a name that never was is there")
        self.mount.path.stat()
        os.statvfs(self.mount.path)

    def _walk_failed(self, error: OSError) -> None:
        if error.errno not in ALLOWED:
            self.complaints.append(f"walk: {error!r}")

    def map_pages(self, draw: random.Random) -> None:
        path, _ = self._pick(draw)
        ran = subprocess.run([sys.executable, "-S", "-c", MAPPER, str(path)], capture_output=True, check=False)
        if (
            ran.returncode not in (0, -signal.SIGBUS)
            and b"OSError" not in ran.stderr
            and b"Error: [Errno" not in ran.stderr
        ):
            self.complaints.append(f"a mapping reader ended with {ran.returncode}: {ran.stderr[-500:]!r}")

    def die_while_reading(self, draw: random.Random) -> None:
        path, _ = self._pick(draw)
        reader = subprocess.Popen(["cat", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draw.random() / 5)
        reader.kill()
        reader.wait(30)

    # -- trouble -------------------------------------------------------------------------

    def make_trouble(self, draw: random.Random) -> None:
        draw.choice(
            (
                self._publish,
                self._publish,
                self._break_a_file,
                self._break_a_file,
                self._break_connections,
                self._refuse,
            )
        )(draw)
        time.sleep(draw.random() / 2)
        if draw.random() < 0.15:
            self.heal()

    def _publish(self, draw: random.Random) -> None:
        """A new version of a file, which may be of another size."""
        plan = draw.choice([plan for plan in self.plans.values() if len(plan.bodies[0]) <= CHANGING])
        size = len(plan.bodies[-1])
        plan.bodies.append(draw.randbytes(draw.choice((size, size, size // 2, min(CHANGING, size * 2 + 1)))))
        plan.changes_at.append(plan.asked)

    def _break_a_file(self, draw: random.Random) -> None:
        plan = draw.choice(list(self.plans.values()))
        kind = draw.choice([kind for kind in KINDS if kind not in GONE or draw.random() < 0.2])
        plan.faults = (Fault(kind, 0, draw.choice((1, 3, 1000))),)
        plan.by_fault.clear()

    def _break_connections(self, draw: random.Random) -> None:
        kinds = [kind for kind in AT_CONNECT if kind != "refused connect"]
        self.origin.break_connections(Fault(draw.choice(kinds), 0, draw.choice((1, 3, 8))))

    def _refuse(self, draw: random.Random) -> None:
        """The server is restarted."""
        self.origin.refuse()
        time.sleep(draw.random())
        self.origin.listen()


def some_files(seed: int) -> dict[str, Plan]:
    draw = random.Random(seed)
    make = partial(Plan, validator="strong")
    return {f"{number:02}-{size}.bin": make([draw.randbytes(size)]) for number, size in enumerate(SIZES)} | {
        f"more-{number}.bin": make([draw.randbytes(draw.randint(1, CHANGING))]) for number in range(12)
    }

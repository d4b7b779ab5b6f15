"""Many readers of a mount in one process, each a thread; says as JSON how long their reads took.

    python tests/bench/load.py '{"files": [["/mnt/a", "/www/a"]], "threads": 4, "seconds": 5}'

`Load` has what can be asked for. A read's time is that of pread(2) alone; what it gave is compared outside of it.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

SETTLE_S = 1.0


@dataclass
class Load:
    """Readers of random pieces.

    files    pairs: a path on the mount, and its truth ("" where none is known)
    start, end  where in the files they read; `end` 0: their size
    size     bytes a read
    seed     of the places they read
    pause_s  between two reads of one reader, on average: readers that never pause measure how they wait for each other
    stagger_s  over how long the readers begin, one after another
    drop     make the kernel forget the pages first, so that rangefs answers
    fails    reads are expected to fail: errors are counted, and that is all

    Reads of the first second are not counted: a hundred threads take a while to start.
    """

    files: list[tuple[str, str]]
    threads: int
    seconds: float
    start: int = 0
    end: int = 0
    size: int = 4096
    seed: int = 0
    pause_s: float = 0.2
    stagger_s: float = 0.0
    drop: bool = True
    fails: bool = False


@dataclass
class Outcome:
    reads: int = 0
    errors: int = 0
    wrong: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0


@dataclass
class Readers:
    """All threads of a load, and what they saw."""

    load: Load
    since: float = 0.0
    until: float = 0.0
    durations: list[float] = field(default_factory=list)
    errors: int = 0
    wrong: int = 0

    def run(self) -> Outcome:
        self.since = time.monotonic() + SETTLE_S
        self.until = self.since + self.load.seconds
        threads = [threading.Thread(target=self.read, args=(number,)) for number in range(self.load.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        times = sorted(self.durations) or [0.0]
        p50, p99 = (1000 * times[int(len(times) * share)] for share in (0.5, 0.99))
        return Outcome(len(self.durations), self.errors, self.wrong, p50, p99, 1000 * times[-1])

    def read(self, number: int) -> None:
        draw = random.Random(self.load.seed * 1000 + number)
        time.sleep(draw.random() * self.load.stagger_s)
        while time.monotonic() < self.until:
            path, truth = draw.choice(self.load.files)
            try:
                handle = os.open(path, os.O_RDONLY)
            except OSError:
                self.errors += 1
                continue
            try:
                self.read_handle(handle, truth, draw)
            finally:
                os.close(handle)

    def read_handle(self, handle: int, truth: str, draw: random.Random) -> None:
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_RANDOM)
        end = self.load.end or os.fstat(handle).st_size
        for _ in range(50):
            offset = draw.randrange(self.load.start, end - self.load.size)
            offset -= offset % 4096
            if self.load.drop:
                os.posix_fadvise(handle, offset, self.load.size, os.POSIX_FADV_DONTNEED)
            time.sleep(draw.random() * 2 * self.load.pause_s)
            if time.monotonic() >= self.until:
                return
            began = time.perf_counter()
            try:
                seen = os.pread(handle, self.load.size, offset)
            except OSError:
                self.errors += 1
                continue
            if time.monotonic() >= self.since:
                self.durations.append(time.perf_counter() - began)
            if truth and not self.load.fails:
                self.wrong += seen != piece_of(truth, offset, self.load.size)


def piece_of(path: str, offset: int, size: int) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return os.pread(file.fileno(), size, offset)


def start(load: Load) -> subprocess.Popen[str]:
    """Readers in a process of their own."""
    command = [sys.executable, str(Path(__file__)), json.dumps(asdict(load))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def outcome(process: subprocess.Popen[str]) -> Outcome:
    """What they saw, once they have ended."""
    said, _ = process.communicate()
    return Outcome(**json.loads(said))


if __name__ == "__main__":
    print(json.dumps(asdict(Readers(Load(**json.loads(sys.argv[1]))).run())))

"""What a benchmark of the whole program plays on: files, nginx, a mount, and how to look at it from outside."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import MiB
from tests.mounts import Option, RangefsMount
from tests.servers import Nginx
from tests.trees import age

REST_S = 30.0


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of processor time: the program's own, and the kernel's for it."""

    user_s: float
    system_s: float

    def since(self, before: CpuTime) -> CpuTime:
        return CpuTime(self.user_s - before.user_s, self.system_s - before.system_s)


def cpu_time(pid: int, thread: int | None = None) -> CpuTime:
    """Of a process so far, or of one of its threads."""
    stat = Path(f"/proc/{pid}/stat") if thread is None else Path(f"/proc/{pid}/task/{thread}/stat")
    fields = stat.read_text().rpartition(")")[2].split()
    tick = os.sysconf("SC_CLK_TCK")
    return CpuTime(int(fields[11]) / tick, int(fields[12]) / tick)


def peak_resident_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise LookupError("no VmHWM: not Linux")


def write_file(path: Path, size: int) -> None:
    """Bytes that don't repeat within a mebibyte, each mebibyte another."""
    block = random.Random(7).randbytes(MiB)
    with path.open("wb") as file:
        for at in range(0, size, MiB):
            file.write((at.to_bytes(8, "little") + block[8:])[: size - at])


@contextmanager
def mounted(files: Mapping[str, int], extra: str = "", **options: Option) -> Iterator[RangefsMount]:
    """A mount of an nginx that serves these files (name to bytes); nothing is cached yet.

    extra  more of nginx's configuration
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        base = Path(folder)
        base.chmod(0o755)
        www = base / "www"
        for name, size in files.items():
            (www / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(www / name, size)
        age(www)
        (base / "m").mkdir()
        with (
            Nginx(www, base / "nginx", extra=extra) as server,
            RangefsMount(base / "m", server.url, **options) as mount,
        ):
            yield mount


def read_through(path: Path, piece: int = MiB) -> int:
    """A file from its start to its end, as `dd` would; returns the bytes."""
    buffer = bytearray(piece)
    total = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total


def drop_pages(path: Path) -> None:
    """Make the kernel forget the file's pages: the next read goes to whoever serves it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def at_rest(mount: RangefsMount, kept_bytes: int) -> None:
    """Wait until the cache has so many bytes and no buffer is in memory any more."""
    give_up = time.monotonic() + REST_S
    while (seen := mount.status())["cache"]["bytes"] < kept_bytes or seen["memory"]["buffers_bytes"]:
        assert time.monotonic() < give_up, f"the cache does not come to rest: {seen}"
        time.sleep(0.1)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

"""Cached random reads while cold sequential reads saturate the origin, against the same reads when idle.

    python -m tests.bench.latency_under_load [--seconds 5] [--rounds 3] [--streams 2] [--readers 4] [--quick]

Issue 4 asks that the p99 under load stays within 5 times of that when idle. The kernel's pages are dropped before each
read, so rangefs answers all of them; the cold files are sparse, so the origin's disk is no part of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import SETTLE_S, Load, Outcome, outcome, start
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.servers import Nginx
from tests.trees import age, content

MiB = 1 << 20
HOT, COLD = 64 * MiB, 8192 * MiB
# Reads cold files to their end, one after the other, from a place that nobody has read; prints how many bytes.
SEQUENTIAL = """
import os, sys, time
until, total = time.monotonic() + float(sys.argv[1]), 0
handle = os.open(sys.argv[2], os.O_RDONLY)
os.lseek(handle, int(sys.argv[3]), os.SEEK_SET)
while time.monotonic() < until and (got := len(os.read(handle, 1 << 20))):
    total += got
print(total)
"""


def reads(mount: RangefsMount, www: Path, readers: int, seconds: float) -> subprocess.Popen[str]:
    return start(Load([(str(mount.path / "hot.bin"), str(www / "hot.bin"))], readers, seconds, pause_s=0.005))


def under_load(
    mount: RangefsMount, www: Path, readers: int, seconds: float, streams: int, offset: int
) -> tuple[Outcome, float]:
    """The cached reads, and the MB/s of the cold ones beside them."""
    for_s = seconds + SETTLE_S + 0.5
    cold = [
        subprocess.Popen(
            [sys.executable, "-S", "-c", SEQUENTIAL, str(for_s), str(mount.path / f"cold{n}.bin"), str(offset)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(streams)
    ]
    seen = outcome(reads(mount, www, readers, seconds))
    return seen, sum(int(one.communicate()[0]) for one in cold) / for_s / 1e6


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    words = parser.parse_args(argv)
    if words.quick:
        words.rounds, words.seconds = 1, 0.5
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rangefs-bench-")))
        scratch.chmod(0o755)
        www = scratch / "www"
        www.mkdir()
        (www / "hot.bin").write_bytes(content("hot", HOT))
        for n in range(words.streams):
            (www / f"cold{n}.bin").touch()
            os.truncate(www / f"cold{n}.bin", COLD)
        age(www)
        server = stack.enter_context(Nginx(www, scratch / "nginx"))
        make = stack.enter_context(mounts_in(scratch, limit_s=60 + words.rounds * 5 * words.seconds))
        mount = make(server.url, metadata_ttl="10m", cache_size="2GiB")
        mount.start()
        (mount.path / "hot.bin").read_bytes()
        rounds = []
        for number in range(words.rounds):
            idle = outcome(reads(mount, www, words.readers, words.seconds))
            offset = number * COLD // words.rounds
            rounds.append((idle, *under_load(mount, www, words.readers, words.seconds, words.streams, offset)))
        report(rounds)
        mount.stop()


def report(rounds: list[tuple[Outcome, Outcome, float]]) -> None:
    for idle, loaded, rate in rounds:
        assert idle.wrong == loaded.wrong == idle.errors == loaded.errors == 0, rounds
        print(
            f"p50 {idle.p50_ms:5.2f} -> {loaded.p50_ms:6.2f} ms, p99 {idle.p99_ms:5.2f} -> {loaded.p99_ms:6.2f} ms, "
            f"max {idle.max_ms:6.1f} -> {loaded.max_ms:6.1f} ms, {loaded.reads} reads beside {rate:.0f} MB/s"
        )
    ratio = statistics.median(loaded.p99_ms / idle.p99_ms for idle, loaded, _ in rounds)
    print(f"p99 under load is {ratio:.1f} x that when idle (median of {len(rounds)} rounds; at most 5)")


if __name__ == "__main__":
    main()

"""256 readers, half of them on an origin that has fallen silent: what that costs the others.

    python -m tests.bench.dead_origin [--readers 256] [--seconds 6] [--rounds 3] [--quick]

One mount, a catalog of files on two origins: nginx, and one that opens its files and then says nothing more. The
others read random 4 KiB, cached and cold, first alone and then beside the stuck ones. Issue 6 asks for a p99 within
2 times of that alone. The kernel's pages are dropped before each read, so rangefs answers all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench.load import Load, Outcome, outcome, start
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.origin import Origin
from tests.plans import ALWAYS, Fault, Plan
from tests.servers import Nginx
from tests.trees import age, content

MiB = 1 << 20
FILES, SIZE, CACHED = 4, 192 * MiB, 16 * MiB
FAR = 20_000_000  # beyond what one answer of the silent file brought
SILENT = content("silent", 30_000_000)
READ_TIMEOUT_S = 5


def catalog(server: Nginx, origin: Origin) -> str:
    rows = [
        {"path": f"live/{n}.bin", "url": f"{server.url}{n}.bin", "size": SIZE, "mtime": 1_400_000_000}
        for n in range(FILES)
    ]
    rows.append({"path": "silent.bin", "url": f"{origin.url}run/silent.bin", "size": len(SILENT)})
    return "".join(json.dumps(row) + "\n" for row in rows)


def others(mount: RangefsMount, www: Path, threads: int, seconds: float, seed: int) -> dict[str, Outcome]:
    """Half of them read what is cached, half what is not: at places of their own for each seed."""
    files = [(str(mount.path / "live" / f"{n}.bin"), str(www / f"{n}.bin")) for n in range(FILES)]
    cached = start(Load(files, threads // 2, seconds, end=CACHED))
    cold = start(Load(files, threads - threads // 2, seconds, start=CACHED, end=SIZE, seed=seed))
    return {"cached": outcome(cached), "cold": outcome(cold)}


def beside_the_stuck(mount: RangefsMount, www: Path, readers: int, seconds: float, seed: int) -> dict[str, Outcome]:
    silent = [(str(mount.path / "silent.bin"), "")]
    # They come one after another, so that they give up one after another too, over and over.
    long_s, stagger_s = seconds + READ_TIMEOUT_S + 2, READ_TIMEOUT_S
    stuck = start(Load(silent, readers // 2, long_s, start=FAR, pause_s=0.01, stagger_s=stagger_s, fails=True))
    time.sleep(READ_TIMEOUT_S)
    found = others(mount, www, readers // 2, seconds, seed)
    seen = outcome(stuck)
    assert seen.errors > 0, "nobody was stuck"
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readers", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    words = parser.parse_args(argv)
    if words.quick:
        words.rounds, words.seconds, words.readers = 1, 0.5, 8
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rangefs-bench-")))
        scratch.chmod(0o755)
        www = scratch / "www"
        www.mkdir()
        for n in range(FILES):
            (www / f"{n}.bin").write_bytes(content(f"live {n}", SIZE))
        age(www)
        server = stack.enter_context(Nginx(www, scratch / "nginx"))
        origin = stack.enter_context(Origin(["run"]))
        origin.folders["run"] = {"silent.bin": Plan([SILENT], faults=(Fault("stall headers", 1, ALWAYS, ("GET",)),))}
        (scratch / "files.jsonl").write_text(catalog(server, origin))
        make = stack.enter_context(mounts_in(scratch, limit_s=60 + words.rounds * (4 * words.seconds + 60)))
        mount = make(f"catalog+file://{scratch}/files.jsonl", read_timeout=f"{READ_TIMEOUT_S}s", metadata_ttl="10m")
        mount.start()
        warm(mount)
        rounds = [
            (
                others(mount, www, words.readers // 2, words.seconds, 2 * number),
                beside_the_stuck(mount, www, words.readers, words.seconds, 2 * number + 1),
            )
            for number in range(words.rounds)
        ]
        report(rounds)
        mount.stop()


def warm(mount: RangefsMount) -> None:
    with (mount.path / "silent.bin").open("rb", buffering=0) as file:
        file.read(1)
    for n in range(FILES):
        with (mount.path / "live" / f"{n}.bin").open("rb", buffering=0) as file:
            for _ in range(CACHED // MiB):
                file.read(MiB)


def report(rounds: list[tuple[dict[str, Outcome], dict[str, Outcome]]]) -> None:
    for kind in ("cached", "cold"):
        for alone, beside in rounds:
            assert alone[kind].wrong == beside[kind].wrong == alone[kind].errors == beside[kind].errors == 0, rounds
            print(
                f"{kind:>7}: p50 {alone[kind].p50_ms:6.2f} -> {beside[kind].p50_ms:6.2f} ms, "
                f"p99 {alone[kind].p99_ms:7.2f} -> {beside[kind].p99_ms:7.2f} ms, max {alone[kind].max_ms:7.1f} -> "
                f"{beside[kind].max_ms:7.1f} ms ({alone[kind].reads} and {beside[kind].reads} reads)"
            )
        ratio = statistics.median(beside[kind].p99_ms / alone[kind].p99_ms for alone, beside in rounds)
        print(
            f"{kind:>7}: p99 beside the stuck is {ratio:.2f} x that alone (median of {len(rounds)} rounds; at most 2)"
        )


if __name__ == "__main__":
    main()

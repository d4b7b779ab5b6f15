"""Issue 6: an origin that breaks, stalls and lies in every way we know; each read is right, or fails in time.

300 drawn runs in CI, 5,000 with RANGEFS_LONG=1; RANGEFS_SEEDS=17,4711 plays just those again.
"""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path

import pytest

from tests.campaigns.oracle import READ_TIMEOUT_S, Run, draw_run, healed, play
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.origin import Origin

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

LONG = os.environ.get("RANGEFS_LONG") == "1"
SEEDS = [int(word) for word in os.environ.get("RANGEFS_SEEDS", "").split(",") if word]
RUNS = 5000 if LONG else 300
WORKERS = 12  # most of a run is waiting for a deadline
HEAL_LIMIT_S = 30.0


def one_run(run: Run, origin: Origin, mount: RangefsMount) -> str | None:
    """Play one run; None, or what was wrong."""
    folder = f"r{run.seed}"
    origin.folders[folder] = {"file.bin": run.plan}
    origin.folder_faults[folder] = list(run.folder_faults)
    if run.accept_faults:
        for kind in run.accept_faults:
            origin.accept_faults.put(kind)
        origin.hang_up()
    path = mount.path / folder / "file.bin"
    try:
        play(run, path)
        run.plan.heal()
        healed(run, path, HEAL_LIMIT_S)
    except (AssertionError, OSError) as wrong:
        return f"{run}\n    {wrong!r}"
    finally:
        origin.accept_faults = queue.SimpleQueue()
        del origin.folders[folder]
    return None


def work(seeds: queue.SimpleQueue[int], origin: Origin, mount: RangefsMount, failures: list[str]) -> None:
    while True:
        try:
            seed = seeds.get_nowait()
        except queue.Empty:
            return
        if wrong := one_run(draw_run(seed), origin, mount):
            failures.append(wrong)


def test_every_read_is_right_or_fails_in_time(scratch: Path) -> None:
    drawn = SEEDS or list(range(RUNS))
    seeds: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in drawn:
        seeds.put(seed)
    failures: list[str] = []
    folders = [f"r{seed}" for seed in drawn]
    with mounts_in(scratch, limit_s=60 + 20 * len(drawn)) as make:
        pairs: list[tuple[Origin, RangefsMount]] = []
        try:
            # An origin and a mount a worker: what one run teaches about an origin must not excuse another.
            for _ in range(min(WORKERS, len(drawn))):
                origin = Origin(folders)
                origin.__enter__()
                mount = make(origin.url, read_timeout=f"{READ_TIMEOUT_S}s", metadata_ttl="200ms")
                mount.start()
                pairs.append((origin, mount))
            workers = [threading.Thread(target=work, args=(seeds, *pair, failures)) for pair in pairs]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            for _, mount in pairs:
                assert mount.alive, f"the mount did not outlive it: {mount.log()[-3000:]}"
                assert "Traceback" not in mount.log(), mount.log()[-5000:]
                mount.stop()
        finally:
            for origin, _ in pairs:
                origin.__exit__(None, None, None)
    assert not failures, f"{len(failures)} of {len(drawn)} runs failed:\n" + "\n".join(failures[:40])

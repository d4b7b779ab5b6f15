"""Issue 6: an origin that breaks, stalls and lies in every way we know; each read is right, or fails in time.

300 drawn runs in CI, 5,000 with RANGEFS_LONG=1; RANGEFS_SEEDS=17,4711 plays just those again, and
RANGEFS_FIRST_SEED=600 begins there.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.campaigns.drawing import OFTEN, Run, draw_run
from tests.campaigns.oracle import READ_TIMEOUT_S, healed, play
from tests.certificates import make_certificates
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.origin import Origin

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

LONG = os.environ.get("RANGEFS_LONG") == "1"
SEEDS = [int(word) for word in os.environ.get("RANGEFS_SEEDS", "").split(",") if word]
FIRST = int(os.environ.get("RANGEFS_FIRST_SEED", "0"))
RUNS = int(os.environ.get("RANGEFS_RUNS", "5000" if LONG else "300"))
PLAIN_WORKERS, TLS_WORKERS = 9, 4  # most of a run is waiting for a deadline
HEAL_LIMIT_S = 30.0
REFUSED_S = {1: 0.2, 2: 0.4, OFTEN: 1.2}  # refused connections can't be counted: for how long there are any


def one_run(run: Run, origin: Origin, mount: RangefsMount) -> str | None:
    """Play one run; None, or what was wrong."""
    folder = f"r{run.seed}"
    origin.folders[folder] = {"file.bin": run.plan}
    origin.folder_faults[folder] = list(run.folder_faults)
    path = mount.path / folder / "file.bin"
    try:
        with connections_broken(run, origin):
            play(run, path)
        run.plan.heal()
        healed(run, path, HEAL_LIMIT_S)
    except (AssertionError, OSError) as wrong:
        return f"{run}\n    {wrong!r}"
    finally:
        del origin.folders[folder]
    return None


@contextmanager
def connections_broken(run: Run, origin: Origin) -> Iterator[None]:
    """While inside, connections meet the run's faults."""
    refused = [fault for fault in run.connection_faults if fault.kind == "refused connect"]
    accepted = [fault for fault in run.connection_faults if fault.kind != "refused connect"]
    with ExitStack() as stack:
        if accepted:
            origin.break_connections(*accepted)
            stack.callback(origin.break_connections)
        if refused:
            origin.refuse()
            again = threading.Timer(max(REFUSED_S.get(fault.times, 1e6) for fault in refused), origin.listen)
            again.start()
            stack.callback(origin.listen)
            stack.callback(again.cancel)
        yield


def work(seeds: queue.SimpleQueue[int], origin: Origin, mount: RangefsMount, failures: list[str]) -> None:
    while True:
        try:
            seed = seeds.get_nowait()
        except queue.Empty:
            return
        if wrong := one_run(draw_run(seed), origin, mount):
            failures.append(wrong)


def test_every_read_is_right_or_fails_in_time(scratch: Path, tmp_path: Path) -> None:
    drawn = SEEDS or list(range(FIRST, FIRST + RUNS))
    print(f"seeds {drawn[0]} to {drawn[-1]}")
    certificates = make_certificates(tmp_path)
    folders = [f"r{seed}" for seed in drawn]
    failures: list[str] = []
    with mounts_in(scratch, limit_s=60 + 20 * len(drawn)) as make, ExitStack() as stack:
        pairs: list[tuple[Origin, RangefsMount]] = []
        workers = []
        for tls, count in ((False, PLAIN_WORKERS), (True, TLS_WORKERS)):
            seeds: queue.SimpleQueue[int] = queue.SimpleQueue()
            for seed in drawn:
                if draw_run(seed).tls is tls:
                    seeds.put(seed)
            # An origin and a mount a worker: what one run teaches about an origin must not excuse another.
            for _ in range(min(count, seeds.qsize())):
                origin = stack.enter_context(Origin(folders, certificates if tls else None))
                options = {"ca_file": str(certificates.trusted)} if tls else {}
                mount = make(origin.url, read_timeout=f"{READ_TIMEOUT_S}s", metadata_ttl="200ms", **options)
                mount.start()
                pairs.append((origin, mount))
                workers.append(threading.Thread(target=work, args=(seeds, origin, mount, failures)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for _, mount in pairs:
            assert mount.alive, f"the mount did not outlive it: {mount.log()[-3000:]}"
            assert "Traceback" not in mount.log(), mount.log()[-5000:]
            mount.stop()
        assert not failures, f"{len(failures)} of {len(drawn)} runs failed:\n" + "\n".join(failures[:40])

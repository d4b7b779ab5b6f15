"""One origin of a mount falls silent: whoever reads from another one is not held up, whatever waits for the dead one.

The ratio of latencies is measured by ``tests/bench/dead_origin.py``; here it is the order of events that counts.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.load import Load, Readers
from tests.campaigns.test_stuck_readers import FAR, STUCK_READER, wait_until_idle
from tests.conftest import StartServer
from tests.e2e.conftest import mounts_in
from tests.mounts import RangefsMount
from tests.origin import Origin
from tests.plans import ALWAYS, Fault, Plan
from tests.servers import Nginx
from tests.trees import MiB, age, content

pytestmark = [pytest.mark.mount, pytest.mark.campaign]

STUCK = 128
LIVE = 32
READ_TIMEOUT_S = 20  # far longer than the others take
SILENT = content("silent", 30_000_000)
FILES = {f"{n}.bin": content(f"live {n}", 8 * MiB) for n in range(3)}
# What 128 waiting fetches of 64 KiB may hold of the buffers, and no more (a read is rounded out to that).
HELD = STUCK * 256 * 1024


@dataclass
class Two:
    """A mount of files from two origins, one of which has just fallen silent."""

    mount: RangefsMount
    www: Path

    def start_stuck(self) -> list[subprocess.Popen[bytes]]:
        path = str(self.mount.path / "silent.bin")
        words = [sys.executable, "-S", "-c", STUCK_READER, path]
        return [subprocess.Popen([*words, str(FAR + number * 70_000)]) for number in range(STUCK)]


@pytest.fixture
def two(scratch: Path, www: Path, start_server: StartServer, tmp_path: Path) -> Iterator[Two]:
    for name, data in FILES.items():
        (www / name).write_bytes(data)
    age(www)
    server = start_server(Nginx, www)
    silent = Plan([SILENT], faults=(Fault("stall headers", 1, ALWAYS, ("GET",)),))
    with Origin(["run"]) as origin, mounts_in(scratch, limit_s=180) as make:
        origin.folders["run"] = {"silent.bin": silent}
        rows = [{"path": name, "url": server.url + name, "size": len(data)} for name, data in FILES.items()]
        rows.append({"path": "silent.bin", "url": f"{origin.url}run/silent.bin", "size": len(SILENT)})
        catalog = tmp_path / "files.jsonl"
        catalog.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with make(f"catalog+file://{catalog}", read_timeout=f"{READ_TIMEOUT_S}s", metadata_ttl="10m") as mount:
            mount.expect_log("silent.bin|127.0.0.1")
            with (mount.path / "silent.bin").open("rb", buffering=0) as file:
                assert file.read(1) == SILENT[:1]  # it opens, then no more comes
            yield Two(mount, www)


def test_readers_of_a_live_origin_are_done_while_128_wait_for_a_dead_one(two: Two) -> None:
    began = time.monotonic()
    stuck = two.start_stuck()
    until_all_wait(two.mount)
    files = [(str(two.mount.path / name), str(two.www / name)) for name in FILES]
    others = Readers(Load(files, LIVE, seconds=4, pause_s=0.02))
    worker = threading.Thread(target=others.run)
    worker.start()
    for name in FILES:  # cold and in sequence beside them
        assert (two.mount.path / name).read_bytes() == FILES[name]
    worker.join()
    assert time.monotonic() < began + READ_TIMEOUT_S, "a machine too slow for this test"
    assert (others.errors, others.wrong) == (0, 0)
    assert len(others.durations) > 10 * LIVE
    assert [reader.poll() for reader in stuck] == [None] * STUCK, "the stuck still wait"
    status = two.mount.status()
    assert status["memory"]["buffers_bytes"] <= HELD, "no more is held than what is waited for"
    assert {reader.wait(2 * READ_TIMEOUT_S) for reader in stuck} == {0}
    wait_until_idle(two.mount)


def until_all_wait(mount: RangefsMount) -> None:
    """As many as may ask at a time are asking, and hear nothing."""
    give_up = time.monotonic() + 15
    seen = -1
    while (status := mount.status())["upstream"]["in_flight"] != seen or seen < 1:
        seen = status["upstream"]["in_flight"]
        assert time.monotonic() < give_up, status
        time.sleep(1)

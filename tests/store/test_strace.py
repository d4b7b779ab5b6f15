"""The proofs run on a disk in memory; strace shows that the real program makes the same calls in the same order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest
import trio

from rangefs.store.threads import Threads
from tests.store.memory_disk import Entry, Made, MemoryDisk, Synced, Told, Written
from tests.store.oracle import run_inline

SCENARIO = """
import sys, trio
from pathlib import Path
from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, MinFree, MiB
from rangefs.core.versions import Level, Stat, Version
from rangefs.store.store import Store

async def scenario(folder, disk=None):
    version = Version(b"a", Level.STRONG, '"1"', 1 << 20)
    store = await Store.open(CacheSettings(folder, 8 * MiB, MinFree(0.0)), "http://x/", CacheFigures(), disk)
    await store.note(Stat(version, 1), 1.0)
    first = await store.add(version, 0, memoryview(b"a" * 5000))
    await store.add(version, 5000, memoryview(b"b" * 5000))
    await store._keeper.commit()
    await store.discard([first.id])
    await store._keeper.commit()
    await store._keeper.checkpoint()
    await store.add(version, 90000, memoryview(b"c" * 100))
    await store.close()
"""
REAL = SCENARIO + "\ntrio.run(scenario, Path(sys.argv[1]))\n"

Call = tuple[str, str]  # what, and the path below the cache folder


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_real_program_makes_the_calls_that_were_proved(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    trace = tmp_path / "trace"
    wanted = (
        "trace=pwritev,pwritev2,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat,mkdir,rmdir"
    )
    strace = ["strace", "-f", "-y", "-qq", "-e", "signal=none", "-e", wanted, "-o", str(trace)]
    ran = subprocess.run(
        [*strace, sys.executable, "-c", REAL, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in ran.stderr and "not permitted" in ran.stderr:
        pytest.skip("strace may not trace here")
    assert ran.returncode == 0, ran.stderr
    assert list(real_calls(trace.read_text(), str(folder))) == list(proved_calls())


def real_calls(trace: str, folder: str) -> Iterator[Call]:
    for line in trace.splitlines():
        found = re.match(r"\d+ +(\w+)\((.*)", line)
        if found is None or folder not in line or " = -1 " in line:
            continue
        call = {"pwrite64": "write", "pwritev": "write", "pwritev2": "write", "fdatasync": "fsync"}.get(
            found[1], found[1]
        )
        paths = [path.removeprefix(folder) for path in re.findall(rf"{re.escape(folder)}[^>\"]*", found[2])]
        if call.startswith("rename"):
            yield "name", paths[1]
            yield "unname", paths[0]
        elif call in ("unlink", "unlinkat", "rmdir"):
            yield "unname", paths[0]
        elif call == "mkdir":
            yield "name", paths[0]
        else:
            yield call, paths[0]


def proved_calls() -> Iterator[Call]:
    """The journal of the same scenario on the disk in memory, in the words of `real_calls`."""
    disk = MemoryDisk()
    names: dict[str, object] = {}
    exec(SCENARIO, names)
    with patch.object(Threads, "run", run_inline):
        trio.run(names["scenario"], Path("/cache"), disk)  # type: ignore[arg-type]
    paths = {1: ""}
    made: set[int] = set()
    for step in disk.journal:
        match step:
            case Made(inode, is_folder):
                if not is_folder:
                    made.add(inode)
            case Entry(folder, name, target):
                path = f"{paths[folder]}/{name}"
                if target is not None:
                    paths[target] = path
                if target in made:
                    made.discard(target)  # open(O_CREAT): known by the first write
                else:
                    yield "unname" if target is None else "name", path.removeprefix("/cache")
            case Written(inode):
                yield "write", paths[inode].removeprefix("/cache")
            case Synced(inode) if inode is not None:
                if paths[inode]:
                    yield "fsync", paths[inode].removeprefix("/cache")
            case Told():
                pass

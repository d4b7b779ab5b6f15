"""Who is told that a record is in the log, when a writer of the log is given up or has no thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rangefs.core.records import IdsRecord
from rangefs.store.disk import Disk
from rangefs.store.layout import Layout
from rangefs.store.manifest import LogFile, Manifest
from rangefs.store.threads import Threads


def manifest_in(folder: Path, threads: Threads) -> tuple[Manifest, Path]:
    path = folder / "log"
    manifest = Manifest(Disk(), Layout(folder), threads, sync=False)
    manifest.resume(LogFile(1, os.open(path, os.O_RDWR | os.O_CREAT), 0), 0, 0)
    return manifest, path


async def test_a_writer_that_is_given_up_has_written_what_others_are_told_of(tmp_path: Path) -> None:
    threads = Threads()
    manifest, path = manifest_in(tmp_path, threads)
    told: list[tuple[bool, int]] = []

    async def add() -> None:
        told.append((await manifest.flush(), path.stat().st_size))

    threads._writers = trio.CapacityLimiter(1)
    given_up = trio.CancelScope()

    async def commit() -> None:
        with given_up:
            await manifest.flush()

    async with trio.open_nursery() as nursery, threads._writers:  # all are busy
        manifest.append(IdsRecord(0, 1))
        nursery.start_soon(commit)
        await wait_all_tasks_blocked()
        nursery.start_soon(add)
        await wait_all_tasks_blocked()
        given_up.cancel()
        await wait_all_tasks_blocked()
        assert not told
    assert len(told) == 1
    assert told[0][0]
    assert told[0][1] > 0
    await manifest.close()


async def test_where_no_thread_is_to_be_had_nobody_is_told_that_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, path = manifest_in(tmp_path, Threads())
    told: list[bool] = []

    def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    async def add() -> None:
        manifest.append(IdsRecord(0, 1))
        told.append(await manifest.flush())

    with monkeypatch.context() as patched:
        patched.setattr("trio.lowlevel.start_thread_soon", none)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(add)
    assert told == [False] * 3
    assert path.stat().st_size == 0
    await manifest.close()

"""Reads over flights and the store: each byte once, right, and never short."""

from __future__ import annotations

import gc
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rangefs.core.figures import MemoryFigures
from rangefs.core.versions import Level, Stat, Version
from rangefs.errors import BadAnswer, Broken, DeadlineExceeded, Stale, TooLarge, Unreachable
from rangefs.read.blob import Blob
from rangefs.read.budget import Budget
from rangefs.read.flights import HELD_S
from rangefs.read.reader import NEAR
from rangefs.store.store import Store
from tests.read.conftest import Bench, MiB, bench


async def quiet(blob: Blob) -> None:
    """All that was fetched has been stored."""
    while blob.flights:
        await trio.sleep(0.01)


def empty_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


async def test_overlapping_readers_share_each_byte(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()

        async def part(seed: int) -> None:
            rng = random.Random(seed)
            at = rng.randrange(4) * MiB
            while at < len(content):
                end = min(at + rng.randrange(1, 300_000), len(content))
                assert await b.read(blob, at, end) == content[at:end]
                at = end

        async with trio.open_nursery() as nursery:
            for seed in range(24):
                nursery.start_soon(part, seed)
        assert b.source.sent_bytes == len(content)
        assert sum(end - start for start, end in b.source.asked) == len(content)


async def test_what_is_stored_before_it_is_read_is_served_from_memory(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        blob.closed = False
        for at in range(0, 4 * MiB, MiB):  # a sequential reader: the window is ahead of it
            await b.read(blob, at, at + MiB)
        await quiet(blob)
        flights = list(blob.held.values())
        assert flights
        assert b.figures.memory.buffers_bytes == sum(flight.reserved for flight in flights)
        empty_files(tmp_path)  # the disk has nothing to give any more
        for flight in flights:
            assert await b.read(blob, flight.start, flight.end) == content[flight.start : flight.end]
        assert not set(flights) & set(blob.held.values())
        assert b.figures.cache.corrupt_chunks == 0


async def test_stored_bytes_make_room_for_a_reader_and_in_time_for_others(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content, memory_bytes=4 * MiB) as b:
        blob, budget = b.blob(), b.flights.budget
        for at in range(0, 3 * MiB, MiB):
            await b.read(blob, at, at + MiB)
        await quiet(blob)
        held_bytes = sum(flight.reserved for flight in blob.held.values())
        assert held_bytes
        assert not budget.try_reserve(budget.ahead_bytes)  # what was fetched ahead a moment ago stays
        b.later_s = HELD_S + 0.1
        assert budget.try_reserve(budget.ahead_bytes)
        budget.release(budget.ahead_bytes)
        assert not blob.held


async def test_who_waits_for_memory_gets_that_of_bytes_that_are_stored_as_soon_as_they_are(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rangefs.read.budget.PATIENCE_S", 1000)
    async with bench(tmp_path, content, memory_bytes=2 * MiB) as b:
        blob, b.source.hold = b.blob(), 0
        first = b.flights.launch(blob, 0, 2 * MiB, urgent=True)
        await wait_all_tasks_blocked()
        b.source.release.set()
        second = b.flights.launch(blob, 2 * MiB, 4 * MiB, urgent=True)
        assert first is not None
        assert second is not None
        with trio.fail_after(5):
            await second.wait(4 * MiB)
        assert first.chunk_id is not None


async def test_a_waiter_is_woken_when_its_own_bytes_are_there(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.hold = 8192
        assert await b.read(blob, 0, 4096) == content[:4096]  # the flight is longer, and stuck
        got: list[bytes] = []

        async def second() -> None:
            got.append(await b.read(blob, 4096, 20_000))

        b.nursery.start_soon(second)
        await wait_all_tasks_blocked()
        assert got == []
        b.source.release.set()
        await wait_all_tasks_blocked(0.05)
        assert got == [content[4096:20_000]]


async def test_a_cut_off_body_is_resumed_where_it_stopped(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        b.source.cut_at = 100_000
        assert await b.read(b.blob(), 0, 200_000) == content[:200_000]
        assert b.source.asked[:2] == [(0, 262_144), (100_000, 262_144)]


async def test_a_failure_is_remembered_for_a_moment_only(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.refuse = [Unreachable("down")]
        for _ in range(3):
            with pytest.raises(Unreachable):
                await b.read(blob, 0, 4096)
        assert len(b.source.asked) == 1
        await trio.sleep(1.05)
        assert await b.read(blob, 0, 4096) == content[:4096]


async def test_no_read_mixes_two_versions(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        assert await b.read(blob, 0, 100) == content[:100]
        await quiet(blob)
        b.later_s = 10
        b.source.data, b.source.tag = bytes(len(content)), '"2"'
        with pytest.raises(Stale) as caught:
            await b.read(blob, 8 * MiB, 8 * MiB + 100)
        b.reader.supersede(blob)
        assert caught.value.stat is not None
        assert caught.value.stat.version.validator == '"2"'
        assert await b.read(blob, 50, 150) == content[50:150], "what was cached of the old version stays readable"
        with pytest.raises(Stale):
            await b.read(blob, 4 * MiB, 4 * MiB + 1)


async def test_bytes_that_landed_just_before_a_change_was_seen_are_not_trusted(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        await b.read(blob, 0, 100)
        await quiet(blob)
        b.source.tag = '"2"'
        with pytest.raises(Stale):
            await b.read(blob, 8 * MiB, 8 * MiB + 100)
        b.reader.supersede(blob)
        with pytest.raises(Stale):
            await b.read(blob, 0, 100)


async def test_a_file_that_is_not_as_listed_is_stale_at_its_first_answer(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.data = content + b"more"
        with pytest.raises(Stale):
            await b.read(blob, 0, 100)


async def test_an_origin_without_ranges_is_downloaded_once_for_all(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.ranges = False

        async def part(at: int) -> None:
            assert await b.read(blob, at, at + 1000) == content[at : at + 1000]

        async with trio.open_nursery() as nursery:
            for at in range(0, len(content) - 1000, MiB):
                nursery.start_soon(part, at)
        assert b.source.asked.count((0, len(content))) == 1


async def test_who_waits_for_a_slow_download_sleeps(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob, b.source.ranges, b.source.hold = b.blob(), False, MiB
        right: list[bool] = []

        async def read(at: int) -> None:
            right.append(await b.read(blob, at, at + 4096) == content[at : at + 4096])

        async with trio.open_nursery() as nursery:
            for at in (2 * MiB, 3 * MiB, 5 * MiB):
                nursery.start_soon(read, at)
            with trio.move_on_after(5) as patience:
                await wait_all_tasks_blocked(0.01)
            b.source.release.set()
            assert not patience.cancelled_caught, "somebody keeps waking up"
            assert right == []
        assert right == [True] * 3


async def test_a_body_too_large_to_keep_is_streamed_in_order_only(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content, memory_bytes=16 * MiB, cache_bytes=4 * MiB) as b:
        blob = b.blob()
        b.reader._max_full_bytes = MiB
        b.source.ranges = False
        b.source.data = data = content * 5
        blob.known_bytes = None
        blob.entry = type(blob.entry)(b"file", blob.entry.kind, b"file", size=None)
        with pytest.raises(TooLarge):
            await b.read(blob, 40 * MiB, 40 * MiB + 10)
        for at in range(0, len(data), 256 << 10):
            assert await b.read(blob, at, min(at + (256 << 10), len(data))) == data[at : at + (256 << 10)]


async def test_a_read_that_takes_too_long_ends_at_its_deadline(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content, timeout_s=0.3) as b:
        b.source.hold = 0
        with pytest.raises(DeadlineExceeded):
            await b.read(b.blob(), 0, 100)


async def test_prefetch_stops_when_the_file_is_closed(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        for at in range(0, 2 * MiB, 128 << 10):
            await b.read(blob, at, at + (128 << 10))
        b.source.hold = 3 * MiB
        await b.read(blob, 2 * MiB, 2 * MiB + 1000)
        b.reader.close(blob)
        with trio.fail_after(10):  # the held one has to be stopped; the others wait for the disk
            await quiet(blob)
        assert b.figures.memory.buffers_bytes == 0


async def test_an_evicted_or_lost_chunk_is_fetched_again_in_the_same_read(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        await b.read(blob, 0, 200_000)
        await wait_all_tasks_blocked(0.05)
        ids = {s.value for s in blob.index if isinstance(s.value, int)}
        assert ids, "the bytes were stored"
        await b.store.discard([i for i in ids if isinstance(i, int)])
        assert await b.read(blob, 100, 150_000) == content[100:150_000]


async def test_bytes_survive_a_new_store_and_are_not_fetched_again(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        assert await b.read(blob, 0, len(content)) == content
        await quiet(blob)
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        blob.pin(await b.source.stat(b"file"))
        assert await b.read(blob, 0, len(content)) == content
        assert b.source.asked == []
        assert b.figures.reads.hit_bytes == len(content)


@pytest.mark.parametrize(("backwards", "trips"), [(False, 2 + 31 // NEAR), (True, 32)])
async def test_who_reads_on_has_the_next_chunks_opened_together(
    tmp_path: Path, content: bytes, backwards: bool, trips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = -(-len(content) // 32)
    chunks = [(start, content[start : start + size]) for start in range(0, len(content), size)]
    version = Version(b"file", Level.STRONG, '"1"', len(content))
    async with bench(tmp_path, content) as b:
        for start, data in chunks:
            assert await b.store.add(version, start, memoryview(data))
    asked: list[int] = []
    bring_near = Store.bring_near

    async def counted(store: Store, chunk_ids: Sequence[int]) -> None:
        asked.append(len(chunk_ids))
        await bring_near(store, chunk_ids)

    monkeypatch.setattr(Store, "bring_near", counted)
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        blob.pin(Stat(version, None))
        for start, data in reversed(chunks) if backwards else chunks:
            half, end = start + size // 2, start + len(data)
            assert await b.read(blob, start, half) == content[start:half]
            assert await b.read(blob, half, end) == content[half:end]
        assert b.source.asked == []
    assert len(asked) == trips
    assert sum(asked) == len(chunks)


async def test_memory_is_bounded_and_given_back(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content, memory_bytes=3 * MiB) as b:
        blob, most = b.blob(), 0
        for at in range(0, len(content), 64 << 10):
            end = min(at + (64 << 10), len(content))
            assert await b.read(blob, at, end) == content[at:end]
            most = max(most, b.figures.memory.buffers_bytes)
        assert most <= 3 * MiB
        await quiet(blob)
        assert b.figures.memory.buffers_bytes == 0


def watch_leases(b: Bench) -> list[int]:
    """What buffers are in use, whoever knows of them, each time one more is taken."""
    leased: list[int] = []
    take = b.flights.buffers.take

    def taking(size_bytes: int) -> memoryview:
        buffer = take(size_bytes)
        leased.append(b.flights.buffers.leased_bytes)
        return buffer

    b.flights.buffers.take = taking  # type: ignore[method-assign]
    return leased


async def test_answers_that_wait_for_their_second_half_hold_no_buffers(tmp_path: Path, content: bytes) -> None:
    memory_bytes = 4 * MiB
    async with bench(tmp_path, content, memory_bytes=memory_bytes) as b:
        leased = watch_leases(b)

        async def read_through() -> None:
            blob = b.blob()
            for at in range(0, 3 * MiB, 300_000):  # across the ends of pieces
                assert await b.read(blob, at, at + 300_000) == content[at : at + 300_000]
            b.reader.close(blob)

        async with trio.open_nursery() as nursery:
            for _ in range(24):
                nursery.start_soon(read_through)
        assert max(leased) <= memory_bytes * 9 / 8  # buffers are an eighth larger than asked for at the most


async def test_failed_fetches_hold_no_buffers_until_somebody_collects_garbage(tmp_path: Path, content: bytes) -> None:
    gc.disable()
    try:
        async with bench(tmp_path, content[:MiB]) as b:
            for _ in range(8):
                blob, b.source.cut_at = b.blob(), MiB // 2
                reading = b.flights.launch(blob, 0, MiB, urgent=True)
                assert reading is not None
                await reading.wait(1)
                b.source.refuse.append(BadAnswer("odd"))
                for _ in range(2):  # the second one is told at once, of the same failure
                    with pytest.raises(BadAnswer):
                        await b.read(blob, MiB // 2, MiB)
                await quiet(blob)
                b.reader.close(blob)
            del reading, blob
            b.flights.buffers.take_back()
            assert b.flights.buffers.leased_bytes == 0
    finally:
        gc.enable()


async def test_what_a_stuck_disk_did_not_take_gives_its_memory_to_readers(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_bytes = 4 * MiB
    async with bench(tmp_path, content, memory_bytes=memory_bytes) as b:
        leased, stuck = watch_leases(b), trio.Event()
        monkeypatch.setattr("rangefs.read.budget.PATIENCE_S", 0.01)
        monkeypatch.setattr(b.flights, "_writers", trio.Semaphore(1))

        async def add(*_: object) -> None:
            await stuck.wait()

        monkeypatch.setattr(b.store, "add", add)
        blob = b.blob()
        try:
            for at in range(0, len(content), 100_000):
                end = min(at + 100_000, len(content))
                assert await b.read(blob, at, end) == content[at:end]
            # and one whose task has been told to let go of it and has yet to run
            assert max(leased) <= memory_bytes * 9 / 8 + MiB
        finally:
            b.reader.close(blob)
            stuck.set()


async def test_a_weak_version_is_read_right_and_leaves_nothing_behind(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        b.source.level = Level.WEAK
        blob = b.blob()
        assert await b.read(blob, 0, MiB) == content[:MiB]
        await quiet(blob)
        b.store.opened(b.source.version())
        assert await b.store.chunks(b.source.version())
        b.store.closed(b.source.version())
        with trio.fail_after(10):
            while await b.store.chunks(b.source.version()):
                await trio.sleep(0.01)


async def test_an_unreadable_range_of_an_origin_that_breaks_is_an_error_never_a_short_read(
    tmp_path: Path, content: bytes
) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.refuse = [BadAnswer("wrong Content-Range")]
        with pytest.raises(BadAnswer):
            await b.read(blob, 0, 300_000)


async def test_two_answers_asked_for_before_either_pinned_are_never_joined(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        first = b.flights.launch(blob, 0, 100_000, urgent=True)
        second = b.flights.launch(blob, 100_000, 200_000, urgent=True)
        assert first is not None
        assert second is not None
        await first.wait(1)
        with pytest.raises(Stale):
            blob.pin(Stat(Version(b"file", Level.STRONG, '"2"', len(content)), None))


async def test_opening_again_joins_the_first_fetch_that_is_under_way(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.hold = 0
        assert b.reader.head(blob, urgent=True) is b.reader.head(blob, urgent=True)
        b.source.release.set()


async def test_bytes_of_a_weak_version_are_not_there_for_its_next_epoch(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        b.source.level = Level.WEAK
        blob = b.blob()
        assert await b.read(blob, 0, 200_000) == content[:200_000]
        version = b.source.version()
        b.store.opened(version)
        await quiet(blob)
        b.reader.close(blob)
        b.store.closed(version)
        b.source.data = bytes(len(content))  # written again within the second: the tag is the same
        again = b.blob()
        again.pin(await b.source.stat(b"file"))
        assert await b.read(again, 0, 200_000) == bytes(200_000)


async def test_a_reader_gets_the_memory_of_what_the_cache_does_not_take(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content, memory_bytes=MiB, cache_bytes=0, timeout_s=5) as b:
        blob = b.blob()
        b.source.hold = 0
        async with trio.open_nursery() as nursery:
            for at in range(0, 6 * MiB, MiB // 2):
                nursery.start_soon(b.read, blob, at, at + MiB // 2)
            await wait_all_tasks_blocked()
            b.source.release.set()
        b.reader.close(blob)
        with trio.fail_after(5):
            await quiet(blob)
        assert b.figures.memory.buffers_bytes == 0, "a closed file holds no memory"


async def test_who_waits_behind_one_that_gave_up_gets_what_there_is() -> None:
    budget = Budget(4, MemoryFigures(), lambda size_bytes, urgent: None)
    await budget.reserve(3)
    async with trio.open_nursery() as nursery:
        greedy = trio.CancelScope()

        async def large() -> None:
            with greedy:
                await budget.reserve(4)

        nursery.start_soon(large)
        await wait_all_tasks_blocked()
        nursery.start_soon(budget.reserve, 1)
        await wait_all_tasks_blocked()
        greedy.cancel()
        with trio.fail_after(1):
            await wait_all_tasks_blocked()
        assert budget.used_bytes == 4
        nursery.cancel_scope.cancel()


async def test_a_download_stopped_at_close_is_no_error_for_who_opens_again(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        b.source.data = data = content * 4
        blob = b.blob()
        b.source.ranges, b.source.hold = False, 5 * MiB
        assert await b.read(blob, 0, 100) == data[:100]
        await wait_all_tasks_blocked()
        b.reader.close(blob)
        b.source.release.set()
        assert await b.read(blob, 6 * MiB, 6 * MiB + 100) == data[6 * MiB : 6 * MiB + 100]


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_bug_in_the_background_is_an_error_for_the_reader_alone(
    tmp_path: Path, content: bytes, ranges: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.ranges = ranges
        b.source.bug = ZeroDivisionError("odd server")
        with pytest.raises(Broken):
            await b.read(blob, 0, 100)
        b.later_s = 2
        b.source.bug = None
        assert await b.read(blob, 0, 100) == content[:100]
    assert "odd server" in caplog.text


async def test_what_memory_has_is_not_trusted_either_when_a_change_is_seen(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.hold = 100_000
        assert await b.read(blob, 0, 1000) == content[:1000]  # its flight is under way
        b.source.tag = '"2"'
        with pytest.raises(Stale) as caught:
            await b.read(blob, 8 * MiB, 8 * MiB + 100)
        assert caught.value.stat is not None
        for start in (0, 90_000, 200_000):
            with pytest.raises(Stale) as later, trio.fail_after(5):
                await b.read(blob, start, start + 1000)
            assert later.value.stat == caught.value.stat, "who finds out later is told of the new version too"
        await quiet(blob)
        assert b.figures.memory.buffers_bytes == 0
        assert await b.store.chunks(Version(b"file", Level.STRONG, '"1"', len(content))) == ()


async def test_a_reader_who_waits_while_a_change_is_seen_gets_an_error_not_doubtful_bytes(
    tmp_path: Path, content: bytes
) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.hold = 100_000

        async def wait_for_more() -> None:
            with pytest.raises(Stale):
                await b.read(blob, 50_000, 150_000)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait_for_more)
                await wait_all_tasks_blocked()
                b.source.tag = '"2"'
                with pytest.raises(Stale):
                    await b.read(blob, 8 * MiB, 8 * MiB + 100)


async def test_a_file_without_any_validator_is_fetched_in_one_body(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        b.source.level, b.source.tag, b.source.hold = Level.NONE, "", 5 * MiB
        blob = b.blob()
        assert await b.read(blob, 0, 300_000) == content[:300_000]
        b.source.data = bytes(len(content))  # nothing shows it
        b.source.release.set()
        assert await b.read(blob, 0, len(content)) == content
        assert b.source.asked.count((0, len(content))) == 1


async def test_more_readers_of_a_silent_upstream_than_the_kernel_has_slots_for_fail_at_once(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rangefs.read.reader.MOST_WAITING", 5)
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        assert await b.read(blob, 0, 10) == content[:10]
        await quiet(blob)
        b.source.hold = 0
        async with trio.open_nursery() as nursery:
            for at in range(5):
                nursery.start_soon(b.read, blob, (2 + at) * MiB, (2 + at) * MiB + 10)
            await wait_all_tasks_blocked()
            b.later_s = 5
            with pytest.raises(Unreachable, match="readers wait"):
                await b.read(blob, 10 * MiB, 10 * MiB + 10)
            assert await b.read(blob, 5, 20) == content[5:20], "what is here is served all the same"
            nursery.cancel_scope.cancel()


async def test_spooling_fetches_a_weak_file_in_one_body(tmp_path: Path, content: bytes) -> None:
    async with bench(tmp_path, content) as b:
        b.flights.loose = Level.WEAK
        b.source.level = Level.WEAK
        blob = b.blob()
        for at in (9 * MiB, 0, 3 * MiB):
            assert await b.read(blob, at, at + 1000) == content[at : at + 1000]
        assert b.source.asked.count((0, len(content))) == 1


async def test_what_a_refused_range_leaves_behind_a_download_is_not_fetched_again(
    tmp_path: Path, content: bytes
) -> None:
    async with bench(tmp_path, content) as b:
        blob = b.blob()
        b.source.ranges = False
        refusing = b.source.fetch
        late = trio.Event()

        @asynccontextmanager
        async def refused_late(*asked: Any) -> AsyncIterator[None]:
            await late.wait()
            async with refusing(*asked):
                yield

        b.source.fetch = refused_late  # type: ignore[assignment, method-assign]
        b.flights.launch(blob, 5 * MiB, 6 * MiB, urgent=True)
        blob.ranges = False  # somebody else's range was refused already
        assert await b.read(blob, 0, MiB) == content[:MiB]
        assert blob.download is not None
        while not blob.download.over:
            await trio.sleep(0.01)
        late.set()
        assert await b.read(blob, 5 * MiB, 6 * MiB) == content[5 * MiB : 6 * MiB]
        assert b.source.asked.count((0, len(content))) == 1

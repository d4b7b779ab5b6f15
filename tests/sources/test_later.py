"""A source whose server comes up after it was needed."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from rangefs.core.entries import Entry, Listing
from rangefs.errors import NotAListing, RangefsError, Unreachable
from rangefs.sources.base import Finder, Ticket, read_all
from rangefs.sources.later import later
from tests.read.scripted import ScriptedSource

DATA = bytes(range(256))


@dataclass
class Absent(ScriptedSource):
    """Not there until `refusals` are used up; `gate` holds whoever connects."""

    refusals: list[RangefsError] = field(default_factory=list)
    connects: int = 0
    gate: trio.Event | None = None

    async def connect(self) -> None:
        self.connects += 1
        await trio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.refusals:
            raise self.refusals.pop(0)

    async def list(self, key: bytes) -> Listing:
        return Listing(())


class Finding(Absent):
    async def find(self, folder: bytes, name: bytes) -> Entry | None:
        return None


async def test_each_question_connects_until_that_has_succeeded_once() -> None:
    behind = Absent(DATA, refusals=[Unreachable("no"), NotAListing("a login page")])
    source = later(behind)
    with pytest.raises(Unreachable):
        await source.stat(b"file")
    with pytest.raises(NotAListing):
        await source.list(b"")
    for _ in range(2):
        async with source.fetch(b"file", 0, 10, None, Ticket()) as body:
            assert await read_all(body, 100) == DATA[:10]
        async with source.fetch_whole(b"file", None, Ticket()) as body:
            assert await read_all(body, 1000) == DATA
        assert (await source.stat(b"file")).version.size == 256
    assert behind.connects == 3


async def test_one_attempt_is_for_all_who_wait() -> None:
    behind = Absent(DATA, refusals=[Unreachable("no")] * 2, gate=trio.Event())
    source, failed = later(behind), 0

    async def ask() -> None:
        nonlocal failed
        with pytest.raises(Unreachable):
            await source.stat(b"file")
        failed += 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert behind.gate is not None
        behind.gate.set()
    assert (failed, behind.connects) == (5, 1)


async def test_when_who_connects_gives_up_the_next_one_tries() -> None:
    behind = Absent(DATA, gate=trio.Event())
    source = later(behind)
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()

        async def ask_and_give_up() -> None:
            with first:
                await source.stat(b"file")

        nursery.start_soon(ask_and_give_up)
        await wait_all_tasks_blocked()
        nursery.start_soon(source.stat, b"file")
        await wait_all_tasks_blocked()
        first.cancel()
        await wait_all_tasks_blocked()
        assert behind.gate is not None
        behind.gate.set()
    assert behind.connects == 2


async def test_who_can_find_can_find_later() -> None:
    assert not isinstance(later(Absent(DATA)), Finder)
    source = later(Finding(DATA, refusals=[Unreachable("no")]))
    assert isinstance(source, Finder)
    with pytest.raises(Unreachable):
        await source.find(b"", b"x")
    assert await source.find(b"", b"x") is None

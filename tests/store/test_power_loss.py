"""What a power loss may leave, enumerated: the cache must come back from each state, and never with a wrong byte.

A run of the store is recorded on a disk in memory; then, for each point of the record, disks are made in which what
was not synced is lost, kept, torn or reordered (`memory_disk`), the store is recovered on each, and this must hold:

1. No chunk gives a byte that was not put in: it is right, or it is refused.
2. What a commit had confirmed is there, unless it was dropped since. (`--sync none` promises less.)
3. All that a plain kill leaves (everything written, nothing synced) is there as far as `add` had answered.
4. The books name every chunk file, and count no fewer pages than the disk has: the cap holds after recovery.
5. Once a commit has confirmed anything, the manifest is read, never made anew (that would take a walk, and lose pins).
6. Ids that recovery will give out are above all that exist.

About 20,000 states in the short form, more than 100,000 with ``RANGEFS_LONG=1``.

Each sync left out in turn must break this (`test_each_sync_is_needed`): a proof that can't fail proves nothing.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rangefs.core.figures import CacheFigures
from rangefs.core.settings import CacheSettings, KiB, MiB, MinFree, Sync
from rangefs.core.versions import Stat, Version
from rangefs.store.compaction import Waiting
from rangefs.store.store import Store
from rangefs.store.threads import Threads
from tests.store.memory_disk import MemoryDisk, PowerLoss
from tests.store.oracle import CACHE, SOURCE, VERSIONS, Broken, Range, content, examine, run_inline

LONG = bool(os.environ.get("RANGEFS_LONG"))


@dataclass(slots=True)
class Promises:
    """What the store has said so far: `answered` by add, `synced` by commit; dropped ones are out of both."""

    answered: frozenset[Range] = frozenset()
    synced: frozenset[Range] = frozenset()


@dataclass(slots=True)
class Recording:
    """One run: its journal is in `disk`, with a `Promises` noted at each change of them."""

    disk: MemoryDisk
    store: Store | None = None
    by_id: dict[int, Range] = field(default_factory=dict)
    answered: set[int] = field(default_factory=set)
    synced: set[int] = field(default_factory=set)

    def note(self) -> None:
        self.disk.tell(
            Promises(
                frozenset(self.by_id[chunk_id] for chunk_id in self.answered),
                frozenset(self.by_id[chunk_id] for chunk_id in self.synced),
            )
        )

    def dropped(self, version: Version, chunk_ids: Sequence[int]) -> None:
        self.answered.difference_update(chunk_ids)
        self.synced.difference_update(chunk_ids)
        self.note()

    def merged(self, version: Version, chunk_ids: Sequence[int], chunk: object) -> None:
        """Merging may lose nothing: its chunks stay promised, as bytes."""


Action = tuple[str, int, int]


async def play(recording: Recording, actions: Sequence[Action], sync: Sync, cap: int) -> None:
    """Do `actions`: (what, which version, a number)."""
    how = CacheSettings(CACHE, cap, MinFree(0.0), sync)

    async def start() -> Store:
        store = await Store.open(how, SOURCE, CacheFigures(), recording.disk)
        store.on_drop = recording.dropped
        store.on_replace = recording.merged
        return store

    store = await start()
    for what, index, number in actions:
        version = VERSIONS[index]
        if what == "add":
            start_at = number % 64 * 700
            length = [700, 700, 700, 1400, 20_000][number % 5]
            data = memoryview(content(index))[start_at : start_at + length]
            chunk = await store.add(version, start_at, data)
            if chunk is not None:
                recording.by_id[chunk.id] = (index, chunk.start, chunk.end)
                recording.answered.add(chunk.id)
                if sync is Sync.ALWAYS:
                    recording.synced.add(chunk.id)
                recording.note()
        elif what == "commit":
            there = set(recording.answered)
            await store._keeper.commit()
            if sync is not Sync.NONE:
                recording.synced |= there & recording.answered
            recording.note()
        elif what == "checkpoint":
            await store._keeper.checkpoint()
        elif what == "merge":
            store._compaction._waiting[number % 4 + 1] = Waiting(-100.0)
            await store._compaction.work()
        elif what == "note":
            await store.note(Stat(version, number), float(number))
        elif what == "pin":
            await store.pin(version)
        elif what == "drop":
            chunks = await store.chunks(version)
            await store.discard([chunk.id for chunk in chunks[: number % 3]])
        elif what == "reopen":
            await store.close()
            store = await start()
    await store.close()


def record(
    actions: Sequence[Action],
    sync: Sync = Sync.BATCH,
    cap: int = 4 * MiB,
    skips: Callable[[str], bool] = lambda kind: False,
) -> MemoryDisk:
    disk = MemoryDisk(skips)
    with patch.object(Threads, "run", run_inline):
        trio.run(play, Recording(disk), actions, sync, cap)
    return disk


def examine_all(disk: MemoryDisk, seed: int, each: int, sync: Sync = Sync.BATCH) -> int:
    """`each` states and two more at every point of the journal; returns how many. Raises `Broken`."""
    strict = sync is not Sync.NONE  # without syncs, files that only `cache gc` finds may be left
    draw = random.Random(seed)
    loss = PowerLoss(disk.journal)
    count = 0
    for _ in loss.points():
        promises = next((told for told in reversed(loss.told) if isinstance(told, Promises)), Promises())
        examine(loss.state(draw, 1.0), promises.answered)
        examine(loss.state(draw, 0.0), promises.synced, strict)
        count += 2
        if loss.pending:
            for _ in range(each):
                found = loss.state(draw, draw.choice([0.1, 0.5, 0.9]), draw.choice([0.0, 0.3]))
                examine(found, promises.synced, strict)
                count += 1
    return count


SCRIPT: list[Action] = [
    *(("add", number % 3, number * 7) for number in range(6)),
    ("commit", 0, 0),
    ("add", 1, 4),
    ("pin", 1, 0),
    ("drop", 0, 1),
    ("commit", 0, 0),
    ("checkpoint", 0, 0),
    *(("add", 2, number * 5) for number in range(6)),
    ("commit", 0, 0),
    ("merge", 2, 2),
    ("add", 0, 9),
    ("commit", 0, 0),
    ("drop", 2, 2),
    ("reopen", 0, 0),
    ("add", 3, 3),
    ("commit", 0, 0),
    ("checkpoint", 0, 0),
    ("add", 3, 4),
]


@pytest.mark.parametrize("sync", list(Sync))
def test_every_state_of_the_script_recovers(sync: Sync) -> None:
    disk = record(SCRIPT, sync)
    assert examine_all(disk, 1, 100 if LONG else 12, sync) > 1000


def test_every_state_under_eviction_recovers() -> None:
    actions: list[Action] = [("add", number % 4, number * 5 + 4) for number in range(24)]
    actions[12:12] = [("commit", 0, 0)]
    disk = record([*actions, ("commit", 0, 0), ("add", 0, 4)], cap=512 * KiB)
    assert examine_all(disk, 2, 100 if LONG else 12) > 1000


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["add"] * 6 + ["commit"] * 2 + ["checkpoint", "merge", "note", "pin", "drop", "reopen"]),
        st.integers(0, 3),
        st.integers(0, 63),
    ),
    min_size=3,
    max_size=25,
)


@settings(
    max_examples=150 if LONG else 25,
    deadline=None,
    derandomize=not LONG,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(actions=ACTIONS, seed=st.integers(0, 1000), cap=st.sampled_from([256 * KiB, 4 * MiB]))
def test_every_state_of_drawn_runs_recovers(actions: list[Action], seed: int, cap: int) -> None:
    examine_all(record(actions, cap=cap), seed, 4 if LONG else 1)


@pytest.mark.parametrize(
    "kind", ["chunk", "chunk folder", "chunks", "log", "snapshot", "CURRENT.next", "top folder", "parent"]
)
def test_each_sync_is_needed(kind: str) -> None:
    disk = record(SCRIPT, skips=lambda found: found == kind)
    with pytest.raises(Broken):
        examine_often(disk)


def examine_often(disk: MemoryDisk) -> None:
    for seed in range(10):
        examine_all(disk, seed, 5)

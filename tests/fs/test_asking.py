"""What upstream's silence means: when it began, how long to wait, who asks again, and how old what is shown is."""

from __future__ import annotations

from pathlib import Path

import trio

from rangefs.core.entries import Listing
from rangefs.core.settings import CacheSettings, MountSettings, UpstreamSettings, ViewSettings
from rangefs.errors import DeadlineExceeded, Denied, RangefsError, Unreachable
from rangefs.fs.asking import LAST_PROBE_S, PAUSE_S, VALIDATE_AGAIN_S, VALIDATE_S, Asking
from rangefs.fs.freshness import freshness_of
from rangefs.fs.tree import Folder, Tree


def asking_of(offline: bool = False, mirrors: tuple[str, ...] = ()) -> Asking:
    folder = Path("nowhere")
    settings = MountSettings(
        "test", folder, CacheSettings(folder), ViewSettings(0, 0), UpstreamSettings(), mirrors=mirrors, offline=offline
    )
    return Asking(settings, clock=trio.current_time)


async def test_only_silence_is_trouble_and_the_first_reason_outlives_deadlines(autojump_clock: object) -> None:
    asking = asking_of()
    assert not asking.failed(Denied("403"))
    assert asking.reason is None
    assert asking.failed(Unreachable("connection refused"))
    await trio.sleep(90)
    assert asking.failed(DeadlineExceeded("no answer within 0.2 s"))
    assert asking.reason == "upstream has not answered for 90 s: connection refused"
    asking.answered()
    assert asking.reason is None


async def test_while_upstream_fails_nobody_waits_long_for_it(autojump_clock: object) -> None:
    asking = asking_of()
    assert asking.patience_s == VALIDATE_S
    asking.was_silent(VALIDATE_S)
    assert asking.patience_s == VALIDATE_AGAIN_S
    await trio.sleep(PAUSE_S)
    assert asking.patience_s == VALIDATE_S
    asking.failed(Unreachable("no"))
    asking.answered()
    assert asking.patience_s == VALIDATE_S


async def test_while_a_primary_fails_a_mirror_has_the_time_to_answer(autojump_clock: object) -> None:
    asking = asking_of(mirrors=("http://far.example/",))
    asking.was_silent(VALIDATE_S)
    assert asking.patience_s == VALIDATE_S


async def test_upstream_is_looked_for_by_one_probe_at_growing_intervals_until_it_answers(
    autojump_clock: object, nursery: trio.Nursery
) -> None:
    asking, probes = asking_of(), []

    async def probe() -> None:
        probes.append(trio.current_time())
        if len(probes) == 9:
            asking.answered()

    nursery.start_soon(asking.recover, probe)
    await trio.sleep(1000)
    assert probes == [], "all is well"
    asking.failed(Unreachable("no"))
    began = trio.current_time()
    await trio.sleep(1000)
    pauses = [round(b - a) for a, b in zip([began, *probes], probes, strict=False)]
    assert pauses == [min(2**n, LAST_PROBE_S) for n in range(9)]


async def test_offline_nothing_is_looked_for(autojump_clock: object, nursery: trio.Nursery) -> None:
    asking = asking_of(offline=True)

    async def probe() -> None:
        raise AssertionError("offline means that nothing is asked")

    nursery.start_soon(asking.recover, probe)
    asking.failed(Unreachable("the mount is offline"))
    await trio.sleep(1000)
    assert freshness_of(Tree().root, asking).state == "offline"


async def test_what_is_shown_has_the_age_of_its_listing_and_the_reason_of_the_silence(autojump_clock: object) -> None:
    asking, tree = asking_of(), Tree()
    folder: Folder = tree.root
    tree.update(folder, Listing(()), asking.clock())
    await trio.sleep(300)
    assert freshness_of(folder, asking).state == "fresh"
    refused: RangefsError = Unreachable("connection refused")
    asking.failed(refused)
    folder.stale = True
    shown = freshness_of(folder, asking)
    assert (shown.state, shown.age_s) == ("stale", 300)
    assert "connection refused" in shown.reason

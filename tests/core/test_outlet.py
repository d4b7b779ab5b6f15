"""Which way to the disk is taken, and when that is found out anew."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from rangefs.core.outlet import TRY_EACH, WORTH, Outlet

MiB = 1 << 20


def used(outlet: Outlet, direct_s: float, through_s: float, writes: int) -> list[bool]:
    """What is chosen for so many writes of a MiB while the disk lags, each taking its way's time."""
    choices = []
    for _ in range(writes):
        direct = outlet.direct(lagging=True)
        outlet.wrote(direct, MiB, direct_s if direct else through_s)
        choices.append(direct)
    return choices


def test_a_disk_that_keeps_up_is_written_past_the_page_cache_whatever_was_measured() -> None:
    outlet = Outlet()
    outlet.wrote(True, MiB, 1.0)
    outlet.wrote(False, MiB, 0.001)
    assert outlet.direct(lagging=False)


@given(st.floats(1e-4, 1.0), st.floats(0.01, 100.0))
def test_where_the_disk_lags_the_page_cache_takes_nearly_all_or_nothing(direct_s: float, times_faster: float) -> None:
    assume(not 0.99 < times_faster / WORTH < 1.01)
    choices = used(Outlet(), direct_s, direct_s / times_faster, 20 * TRY_EACH)
    tried = choices.count(times_faster > WORTH)
    assert 1 <= tried <= 2 + len(choices) // TRY_EACH


def test_before_anything_was_measured_one_write_tries_the_page_cache_and_the_others_do_not_follow_it() -> None:
    outlet = Outlet()
    assert [outlet.direct(lagging=True) for _ in range(8)] == [False] + [True] * 7


def test_a_way_that_has_become_the_faster_one_is_found() -> None:
    outlet = Outlet()
    used(outlet, direct_s=0.001, through_s=0.01, writes=200)
    choices = used(outlet, direct_s=0.1, through_s=0.1 / WORTH / 2, writes=200)
    assert choices[-TRY_EACH:].count(False) >= TRY_EACH - 1
    choices = used(outlet, direct_s=0.001, through_s=0.01, writes=20 * TRY_EACH)
    assert choices[-TRY_EACH:].count(True) >= TRY_EACH - 1

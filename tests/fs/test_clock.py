"""The event loop's clock: against a process that is stopped now and then, on a clock that the test turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.fs.clock import FROZEN_S, TICK_S, AwakeClock


@given(st.lists(st.floats(0, 100), max_size=50))
def test_time_never_goes_back_and_a_gap_counts_for_a_tick_at_most(gaps_s: list[float]) -> None:
    now = [1000.0]
    clock = AwakeClock(lambda: now[0])
    clock.start_clock()
    seen = clock.current_time()
    for gap_s in gaps_s:
        now[0] += gap_s
        passed_s = clock.current_time() - seen
        seen += passed_s
        assert abs(passed_s - (gap_s if now[0] - (now[0] - gap_s) <= FROZEN_S else TICK_S)) < 1e-6


def test_the_loop_never_sleeps_longer_than_a_tick() -> None:
    clock = AwakeClock(lambda: 5.0)
    assert clock.deadline_to_sleep_time(float("inf")) == TICK_S
    assert clock.deadline_to_sleep_time(5.25) == 0.25
    assert clock.deadline_to_sleep_time(4.0) == -1.0

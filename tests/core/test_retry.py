"""Tries and their pauses, and how many requests at a time an origin takes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.retry import BASE_S, CAP_S, HALVE_EVERY_S, TRIES, Concurrency, pause_s, retry_after_s

DRAW = st.floats(0, 1, exclude_max=True)
LEFT = st.one_of(st.floats(0.001, 1e6), st.just(float("inf")))


@given(st.integers(1, 10), DRAW, LEFT, st.one_of(st.none(), st.floats(0, 1e9)))
def test_every_pause_ends_before_the_deadline(failures: int, draw: float, left: float, asked: float | None) -> None:
    pause = pause_s(failures, draw, left, asked)
    if pause is not None:
        assert 0 <= pause < left
        assert failures < TRIES


@given(st.integers(1, TRIES - 1), DRAW)
def test_backoff_is_drawn_below_a_doubling_cap(failures: int, draw: float) -> None:
    pause = pause_s(failures, draw, float("inf"))
    assert pause is not None
    assert pause <= min(CAP_S, BASE_S * 2 ** (failures - 1))


@given(st.integers(1, TRIES - 1), DRAW, st.floats(0, 1e6))
def test_retry_after_is_the_least_wait_where_there_is_time(failures: int, draw: float, asked: float) -> None:
    pause = pause_s(failures, draw, float("inf"), asked)
    assert pause is not None
    assert pause >= asked


def test_retry_after_beyond_the_deadline_leaves_time_for_one_more_try() -> None:
    assert pause_s(1, 0.5, 40.0, 3600.0) == 30.0


def test_six_tries_and_no_more() -> None:
    assert pause_s(TRIES - 1, 0.0, 60.0) == 0.0
    assert pause_s(TRIES, 0.0, 60.0) is None
    assert pause_s(1, 0.0, 0.0) is None
    assert pause_s(1, 0.9, 0.001) is None


def test_retry_after_as_seconds_or_date() -> None:
    now = 784111777.0
    assert retry_after_s(" 120 ", now) == 120
    assert retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT", now) == 60
    assert retry_after_s("Sun, 06 Nov 1994 08:48:37 GMT", now) == 0
    for nonsense in ("", "-1", "soon", "1.5", "9" * 50, "٣"):
        assert retry_after_s(nonsense, now) is None


@given(st.integers(1, 64), st.lists(st.tuples(st.booleans(), st.floats(0, 2))))
def test_concurrency_stays_between_one_and_the_ceiling(ceiling: int, events: list[tuple[bool, float]]) -> None:
    concurrency, now = Concurrency(ceiling), 0.0
    for throttled, wait in events:
        now += wait
        before = concurrency.limit
        if throttled:
            concurrency.throttled(now)
            assert concurrency.limit <= before
        else:
            concurrency.succeeded()
            assert before <= concurrency.limit <= before + 1
        assert 1 <= concurrency.limit <= ceiling


def test_one_burst_of_throttling_halves_once() -> None:
    concurrency = Concurrency(16)
    for _ in range(16):
        concurrency.throttled(100.0)
    assert concurrency.limit == 8
    concurrency.throttled(100.0 + HALVE_EVERY_S)
    assert concurrency.limit == 4


def test_concurrency_grows_one_slot_a_round() -> None:
    concurrency = Concurrency(16)
    concurrency.throttled(0.0)
    for _ in range(9):
        concurrency.succeeded()
    assert concurrency.limit == 9

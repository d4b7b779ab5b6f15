"""The latency histogram against a sorted list of everything recorded."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.histogram import BUCKETS, LOWEST_S, SUB_BUCKETS, DurationHistogram, bucket_of, upper_bound_s

durations = st.floats(min_value=LOWEST_S, max_value=127.9, allow_nan=False)


def filled(recorded: list[float]) -> DurationHistogram:
    histogram = DurationHistogram()
    for duration_s in recorded:
        histogram.record(duration_s)
    return histogram


@given(st.lists(durations, min_size=1), st.floats(min_value=0, max_value=1))
def test_a_quantile_is_never_below_the_exact_one_and_at_most_a_sixteenth_above(
    recorded: list[float], fraction: float
) -> None:
    exact = sorted(recorded)[max(1, math.ceil(fraction * len(recorded))) - 1]
    shown = filled(recorded).quantile_s(fraction)
    assert exact <= shown <= exact * (1 + 1 / SUB_BUCKETS)


@given(st.lists(durations))
def test_count_and_total_are_those_of_what_was_recorded(recorded: list[float]) -> None:
    histogram = filled(recorded)
    assert histogram.count == len(recorded)
    assert histogram.total_s == pytest.approx(sum(recorded))


@given(durations)
def test_each_duration_lies_in_its_bucket(duration_s: float) -> None:
    bucket = bucket_of(duration_s)
    assert duration_s < upper_bound_s(bucket)
    assert bucket == 0 or duration_s >= upper_bound_s(bucket - 1)


@given(st.lists(durations))
def test_cumulative_counts_at_powers_of_two_are_exact(recorded: list[float]) -> None:
    bounds = [2.0**exponent for exponent in range(-19, 8)]
    shown = filled(recorded).cumulative(bounds)
    assert shown == [sum(duration_s < bound for duration_s in recorded) for bound in bounds]


@pytest.mark.parametrize(("duration_s", "bucket"), [(0.0, 0), (-1.0, 0), (1e-9, 0), (1e9, BUCKETS - 1)])
def test_what_is_off_the_scale_counts_in_the_outermost_bucket(duration_s: float, bucket: int) -> None:
    assert bucket_of(duration_s) == bucket


def test_an_empty_histogram_shows_zero() -> None:
    assert DurationHistogram().quantile_s(0.99) == 0.0

"""An origin's usual slowness, and what is concluded from it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.latency import (
    HEDGE_BURST,
    HEDGE_SHARE,
    STALL_MAX_S,
    STALL_MIN_S,
    TRUSTED_FROM,
    WINDOW,
    HedgeBudget,
    Latencies,
    hedge_after_s,
    stall_after_s,
)
from rangefs.core.retry import RetryBudget, ahead_budget

SECONDS = st.floats(0, 100)


def seen(*seconds: float) -> Latencies:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    return latencies


@given(st.lists(SECONDS, max_size=2 * WINDOW), st.floats(0, 1))
def test_quantiles_are_those_of_the_last_window(durations: list[float], share: float) -> None:
    latencies, model = seen(*durations), sorted(durations[-WINDOW:])
    assert len(latencies) == len(model)
    expected = None if len(model) < TRUSTED_FROM else model[min(len(model) - 1, int(share * len(model)))]
    assert latencies.quantile(share) == expected


@given(st.lists(SECONDS, min_size=TRUSTED_FROM, max_size=WINDOW), st.floats(1, 60))
def test_a_stall_is_four_times_the_usual_worst_within_bounds(durations: list[float], default_s: float) -> None:
    stall = stall_after_s(seen(*durations), default_s)
    assert STALL_MIN_S <= stall <= STALL_MAX_S
    assert stall_after_s(Latencies(), default_s) == default_s


def test_even_slowness_is_not_hedged_a_heavy_tail_is() -> None:
    assert hedge_after_s(Latencies()) is None
    assert hedge_after_s(seen(*[0.2] * 100)) is None
    assert hedge_after_s(seen(*[0.0002] * 97, *[0.04] * 3)) is None  # a busy loopback
    assert hedge_after_s(seen(*[0.02] * 97, *[1.0] * 3)) == 1.0


@given(st.lists(st.booleans(), max_size=500))
def test_hedges_stay_within_their_share(wishes: list[bool]) -> None:
    budget, hedges = HedgeBudget(), 0
    for wish in wishes:
        budget.earn()
        hedges += wish and budget.spend()
    assert hedges <= HEDGE_BURST + HEDGE_SHARE * len(wishes) + 1e-6


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=200))
def test_retries_are_paid_for_by_successes_and_time(events: list[tuple[bool, float]]) -> None:
    budget = RetryBudget(capacity=5, per_success=0.1, per_s=0.5)
    now, earned, spent, begun = 0.0, 0.0, 0, None
    for success, wait in events:
        now += wait
        if success:
            budget.earn()
            earned += 0.1
        else:
            begun = now if begun is None else begun
            spent += budget.spend(now)
    assert spent <= 5 + earned + (0 if begun is None else 0.5 * (now - begun)) + 1e-6


def test_a_dry_budget_fills_again_with_time() -> None:
    budget = ahead_budget()
    while budget.spend(0.0):
        pass
    assert not budget.spend(1.0)
    assert budget.spend(4.0)

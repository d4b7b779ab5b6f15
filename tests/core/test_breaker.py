"""The circuit breaker, step by step and against a plain model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.breaker import (
    FIRST_INTERVAL_S,
    LAST_INTERVAL_S,
    OPEN_AFTER,
    PROBE_PATIENCE_S,
    Admission,
    Breaker,
)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(OPEN_AFTER):
        breaker.failed(now, probe=False)
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = Breaker()
    for _ in range(10):
        for _ in range(OPEN_AFTER - 1):
            breaker.failed(0.0, probe=False)
        assert breaker.admit(0.0) is Admission.GO
        breaker.succeeded()
    assert opened().open


def test_one_probe_at_a_time_at_growing_intervals() -> None:
    breaker, now = opened(), 0.0
    interval = FIRST_INTERVAL_S
    for _ in range(10):
        assert breaker.admit(now + interval * 0.99) is Admission.WAIT
        now += interval
        assert breaker.admit(now) is Admission.PROBE
        assert breaker.admit(now) is breaker.admit(now + PROBE_PATIENCE_S * 0.99) is Admission.WAIT
        breaker.failed(now, probe=True)
        interval = min(LAST_INTERVAL_S, 2 * interval)
        assert breaker.next_probe_at == now + interval


def test_a_success_closes_it_and_forgets() -> None:
    breaker = opened()
    assert breaker.admit(1.0) is Admission.PROBE
    breaker.succeeded()
    assert breaker.admit(1.0) is Admission.GO
    for _ in range(OPEN_AFTER):
        breaker.failed(1.0, probe=False)
    assert breaker.next_probe_at == 1.0 + FIRST_INTERVAL_S


def test_a_probe_that_hangs_keeps_nobody_from_asking() -> None:
    breaker = opened()
    assert breaker.admit(1.0) is Admission.PROBE
    assert breaker.admit(1.0 + PROBE_PATIENCE_S) is Admission.PROBE
    assert breaker.admit(1.0 + PROBE_PATIENCE_S) is Admission.WAIT
    breaker.succeeded()
    breaker.failed(20.0, probe=True)  # the first one, at last
    assert breaker.admit(20.0) is Admission.GO


def test_failures_of_requests_from_before_it_opened_do_not_put_the_probe_off() -> None:
    breaker = opened()
    breaker.failed(0.4, probe=False)
    assert breaker.admit(FIRST_INTERVAL_S) is Admission.PROBE
    breaker.failed(1.0, probe=False)
    assert breaker.admit(1.0) is Admission.WAIT  # the probe is still out


def test_an_abandoned_probe_makes_room_for_the_next() -> None:
    breaker = opened()
    assert breaker.admit(1.0) is Admission.PROBE
    breaker.abandoned(2.0)
    assert breaker.admit(2.0) is Admission.PROBE


@given(st.lists(st.tuples(st.sampled_from(["ask", "ok", "fail", "abandon"]), st.floats(0, 5))))
def test_never_two_probes_at_once_but_for_silent_ones_and_never_stuck(steps: list[tuple[str, float]]) -> None:
    breaker, now, probing, probed_at = Breaker(), 0.0, False, 0.0
    for step, wait in steps:
        now += wait
        if step == "ask":
            admission = breaker.admit(now)
            assert not (admission is Admission.PROBE and probing and now < probed_at + PROBE_PATIENCE_S)
            assert (admission is Admission.GO) is not breaker.open
            if admission is Admission.PROBE:
                probing, probed_at = True, now
        elif step == "ok":
            breaker.succeeded()
            probing = False
        elif step == "fail":
            breaker.failed(now, probe=probing)
            probing = False
        else:
            breaker.abandoned(now)
            probing = False
    if probing:
        breaker.abandoned(now)
    assert breaker.admit(now + LAST_INTERVAL_S) is not Admission.WAIT

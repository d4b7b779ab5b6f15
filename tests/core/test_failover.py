"""Who is asked, who is down, who is probed when: step by step, and over drawn histories."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.failover import (
    FIRST_INTERVAL_S,
    FORGET_S,
    LAST_INTERVAL_S,
    LATES,
    RATED_BYTES,
    STABLE_S,
    STRANGE_AFTER,
    Agreements,
    Has,
    Health,
    Roster,
)
from rangefs.core.settings import MiB
from rangefs.core.versions import Level, Version


def up(now: float = 0.0) -> Health:
    health = Health()
    health.answered(now)
    return health


def roster(count: int) -> Roster:
    made = Roster(count)
    for health in made.healths:
        health.answered(0.0)
    return made


def version(number: int) -> Version:
    return Version(b"%d" % number, Level.STRONG, '"x"', 10)


# -- one origin ------------------------------------------------------------------------


def test_an_origin_is_down_until_it_has_answered_once() -> None:
    assert Health().down
    assert not up().down


def test_it_is_doubted_after_being_late_in_a_row_only_and_a_word_from_it_ends_the_doubt() -> None:
    health = up()
    for _ in range(10):
        for _ in range(LATES - 1):
            health.late()
        assert not health.doubted
        health.heard(1.0)
    for _ in range(LATES):
        health.late()
    assert health.doubted
    assert not health.down
    health.heard(2.0)
    assert not health.doubted


def test_a_doubt_is_probed_at_once_and_the_probe_decides() -> None:
    for answered in (True, False):
        health = up()
        assert not health.may_probe(1.0)
        for _ in range(LATES):
            health.late()
        assert health.may_probe(1.0)
        assert not health.may_probe(1.0)
        if answered:
            health.answered(2.0)
        else:
            health.missed(2.0)
        assert health.doubted is health.down is not answered


def test_a_plain_failure_brings_it_down_and_any_answer_back() -> None:
    health = up()
    health.fell(1.0)
    assert health.down
    assert health.doubted
    health.answered(2.0)
    assert not health.doubted


def test_bodies_that_break_off_count_though_heads_come_in_time() -> None:
    health = up()
    health.broke_off(1.0)
    health.answered(1.0)
    assert not health.down
    health.broke_off(2.0)
    assert health.down
    health = up()
    health.broke_off(1.0)
    health.delivered(10, 0.1)
    health.answered(1.0)
    health.broke_off(2.0)
    assert not health.down


@given(
    st.lists(st.tuples(st.sampled_from(["ask", "ok", "miss", "quit", "strike", "late"]), st.floats(0, 3)), max_size=60)
)
def test_never_two_probes_and_never_stuck(steps: list[tuple[str, float]]) -> None:
    health, now, probing = up(), 0.0, False
    for step, wait_s in steps:
        now += wait_s
        if step == "ask":
            allowed = health.may_probe(now)
            assert not (allowed and (probing or not health.doubted))
            probing = probing or allowed
        elif step == "strike":
            health.fell(now)
        elif step == "late":
            health.late()
        elif step == "ok":
            health.answered(now)
            probing = False
        elif probing:
            health.missed(now) if step == "miss" else health.gave_up()
            probing = False
    if probing:
        health.gave_up()
    if health.down:
        assert health.may_probe(max(now, health.next_probe_at))
        assert health.next_probe_at <= now + LAST_INTERVAL_S


@given(st.floats(10, 600))
def test_a_dead_origin_is_probed_a_bounded_number_of_times(seconds: float) -> None:
    health, now, probes = up(), 0.0, 0
    health.fell(now)
    while now < seconds:
        if health.may_probe(now):
            probes += 1
            health.missed(now)
        now += 0.05
    assert probes <= 5 + seconds / LAST_INTERVAL_S


def test_one_that_answers_probes_and_nothing_else_is_probed_less_and_less() -> None:
    health, now, falls = up(-STABLE_S), 0.0, 0
    while now < 100:
        if not health.down:
            health.fell(now)
            falls += 1
        elif health.may_probe(now):
            health.answered(now)
        now += 0.05
    assert falls <= 5 + 100 / LAST_INTERVAL_S
    health.answered(now)
    health.answered(now + STABLE_S)
    health.fell(now + STABLE_S)
    assert health.next_probe_at == now + STABLE_S + FIRST_INTERVAL_S


# -- several ------------------------------------------------------------------------------

STATES = st.lists(
    st.tuples(
        st.sampled_from(["up", "doubted", "down"]),
        st.none() | st.floats(0.001, 1),
        st.none() | st.floats(1e5, 1e9),
        st.integers(0, 1 << 30),
    ),
    min_size=1,
    max_size=6,
)


@given(STATES, st.integers(0, 8 * MiB))
def test_everybody_is_named_once_and_nobody_down_before_anybody_up(
    states: list[tuple[str, float | None, float | None, int]], size_bytes: int
) -> None:
    made = Roster(len(states))
    for health, (state, latency_s, rate, queued_bytes) in zip(made.healths, states, strict=True):
        if state != "down":
            health.answered(0.0)
        for _ in range(LATES if state == "doubted" else 0):
            health.late()
        health.latency_s, health.rate, health.queued_bytes = latency_s, rate, queued_bytes
    order = made.order(range(len(states)), size_bytes)
    assert sorted(order) == list(range(len(states)))
    assert order == made.order(reversed(range(len(states))), size_bytes)
    worries = [made.healths[number].down + made.healths[number].doubted for number in order]
    assert worries == sorted(worries)


@given(st.integers(1, 5), st.integers(1, 60))
def test_ranges_spread_evenly_over_equals(count: int, ranges: int) -> None:
    made, given_to = roster(count), [0] * count
    for _ in range(ranges):
        first = made.order(range(count), MiB)[0]
        made.healths[first].queued_bytes += MiB
        given_to[first] += 1
    assert max(given_to) - min(given_to) <= 1


def test_a_small_read_goes_to_whoever_answers_soonest() -> None:
    made = roster(3)
    for health, latency_s in zip(made.healths, (0.2, 0.02, 0.1), strict=True):
        health.answered(0.0, latency_s)
    assert made.order(range(3), 4096) == [1, 2, 0]


def test_ties_go_to_the_primary() -> None:
    assert roster(3).order([2, 1, 0], 4096) == [0, 1, 2]


@given(st.floats(2, 20))
def test_a_slow_origin_gets_its_share_and_is_tried_again(ratio: float) -> None:
    """Time goes on by what is delivered: each origin works off its queue at its own rate."""
    made, rates = roster(2), (64.0 * MiB, 64.0 * MiB / ratio)
    for health, rate in zip(made.healths, rates, strict=True):
        health.delivered(4 * MiB, 4 * MiB / rate)
    given_to, free_at, now = [0, 0], [0.0, 0.0], 0.0
    for _ in range(2000):
        for number, health in enumerate(made.healths):
            health.queued_bytes = int(max(0.0, free_at[number] - now) * rates[number])
        first = made.order(range(2), 4 * MiB)[0]
        made.chosen(first, range(2))
        given_to[first] += 1
        free_at[first] = max(now, free_at[first]) + 4 * MiB / rates[first]
        made.healths[first].delivered(4 * MiB, 4 * MiB / rates[first])
        now += 4 * MiB / sum(rates)
    assert given_to[1] > 0
    assert given_to[1] <= 2000 * 2 / (1 + ratio) + 50


def test_small_bodies_say_nothing_of_a_rate() -> None:
    health = up()
    health.delivered(RATED_BYTES - 1, 100.0)
    assert health.rate is None


# -- who has what --------------------------------------------------------------------------


def test_a_mirror_that_lacked_a_version_is_asked_for_it_again_later() -> None:
    agreements = Agreements()
    assert agreements.has(1, version(0), 0.0) is Has.PERHAPS
    agreements.differed(1, version(0), 0.0)
    assert agreements.has(1, version(0), FORGET_S - 1) is Has.NO
    assert agreements.has(1, version(0), FORGET_S) is Has.PERHAPS
    assert agreements.has(1, version(1), 0.0) is agreements.has(2, version(0), 0.0) is Has.PERHAPS
    agreements.agreed(1, version(0))
    assert agreements.has(1, version(0), 1e9) is Has.YES


def test_a_mirror_that_never_agrees_is_a_stranger_until_it_does() -> None:
    agreements = Agreements()
    for number in range(STRANGE_AFTER):
        assert not agreements.strange(1, 0.0)
        agreements.differed(1, version(number), 0.0)
        agreements.differed(1, version(number), 0.0)  # the same again says nothing new
    assert agreements.strange(1, 0.0)
    assert not agreements.strange(1, FORGET_S)
    agreements.agreed(1, version(0))
    assert not agreements.strange(1, 0.0)


def test_what_is_known_of_versions_has_a_bound() -> None:
    agreements = Agreements()
    for number in range(20_000):
        agreements.differed(number % 3, version(number), 0.0)
    assert len(agreements._seen) <= 8192

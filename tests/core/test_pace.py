"""How far ahead pays, on networks of two kinds: a rate for each connection, and one rate for all of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.pace import BODY_MIN, CROWDED, MEMORY_S, QUEUE_BYTES, Pace

MiB = 1 << 20
PIECE = 4 * MiB
CONNECTIONS = 16


@dataclass
class Network:
    """Bodies come at `each` bytes a second, as long as `all_of_them` together are not faster than that."""

    first_s: float
    each: float
    all_of_them: float


@dataclass
class _Body:
    began: float
    others: float
    left: float


def carried(network: Network, total_bytes: int) -> tuple[Pace, list[int], float]:
    """A reader that takes all at once: the pace after it, how many bodies came at a time, and the seconds."""
    pace, now, landed, asked = Pace(), 0.0, 0.0, 0
    bodies: list[_Body] = []
    together = []
    while asked < total_bytes or bodies:
        allowed = CONNECTIONS if landed else 1  # the first range comes alone
        while asked < total_bytes and len(bodies) < allowed and (len(bodies) + 1) * PIECE <= pace.reach_bytes:
            bodies.append(_Body(now, landed, PIECE))
            asked += PIECE
        together.append(len(bodies))
        rate = min(network.each, network.all_of_them / len(bodies))
        step = min(body.left for body in bodies) / rate
        now += step
        landed += rate * step * len(bodies)
        for body in bodies:
            body.left -= rate * step
        for body in [body for body in bodies if body.left < 1]:
            bodies.remove(body)
            pace.landed(PIECE, network.first_s, network.first_s + now - body.began, int(landed - body.others), now)
    return pace, together, now


@given(st.floats(0.001, 0.3), st.floats(1e6, 1e8))
def test_where_each_connection_has_its_own_rate_nothing_is_held_back(first_s: float, each: float) -> None:
    pace, together, _ = carried(Network(first_s, each, CONNECTIONS * each), 256 * MiB)
    assert pace.reach_bytes == math.inf
    assert max(together) == CONNECTIONS


@given(st.floats(0.0005, 0.005), st.floats(1e8, 2e9))
def test_where_all_share_one_rate_few_come_at_a_time(first_s: float, shared: float) -> None:
    _, together, took_s = carried(Network(first_s, 2 * shared, shared), 1024 * MiB)
    settled = together[len(together) // 2 :]
    assert sum(settled) / len(settled) <= 3 * QUEUE_BYTES / PIECE
    assert took_s <= 1.02 * 1024 * MiB / shared, "the bottleneck always had something to do"


def test_what_queues_is_taken_back_and_given_back_body_by_body() -> None:
    pace = Pace()
    pace.landed(PIECE, 0.001, 0.01, PIECE, now=0)
    assert pace.reach_bytes == math.inf
    pace.landed(PIECE, 0.001, 0.01 * (4 * CROWDED), 16 * PIECE, now=1)
    crowded = pace.reach_bytes
    assert QUEUE_BYTES < crowded < 16 * PIECE
    for _ in range(4):
        pace.landed(PIECE, 0.001, 0.011, PIECE, now=2)
    assert crowded + PIECE <= pace.reach_bytes <= crowded + 4 * PIECE


def test_one_body_that_was_held_up_is_no_crowd() -> None:
    pace = Pace()
    for held_up_s in (0.1, 0.1, 0.9, 0.1, 0.1):
        pace.landed(PIECE, 0.03, held_up_s, 16 * PIECE, now=0)
    assert pace.reach_bytes == math.inf


def test_a_network_that_has_become_slower_is_not_crowded_for_ever() -> None:
    pace = Pace()
    pace.landed(PIECE, 0.001, 0.01, PIECE, now=0)
    for second in range(1, int(5 * MEMORY_S)):
        pace.landed(PIECE, 0.001, 0.1, PIECE, now=second)
    assert pace.reach_bytes > 4 * QUEUE_BYTES


@given(st.lists(st.tuples(st.integers(1, 64 * MiB), st.floats(0, 100), st.floats(0, 100), st.integers(0, 1 << 40))))
def test_the_reach_always_holds_what_may_queue(bodies: list[tuple[int, float, float, int]]) -> None:
    pace = Pace()
    for now, (size, first_s, body_s, others) in enumerate(bodies):
        pace.landed(size, first_s, first_s + body_s, others, float(now))
        assert pace.reach_bytes >= QUEUE_BYTES


def test_short_bodies_say_nothing() -> None:
    pace = Pace()
    for body_s in (0.001, 1.0):
        pace.landed(BODY_MIN - 1, 0.001, body_s, BODY_MIN, now=0)
    assert pace.reach_bytes == math.inf

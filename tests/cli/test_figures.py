"""Figures as people read them."""

from __future__ import annotations

import pytest

from rangefs.cli import figures, status
from rangefs.core.figures import Figures
from rangefs.core.histogram import DurationHistogram
from rangefs.ops.status import Identity, State, status_of


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"), (20 << 30, "20 GiB"), (5000 << 30, "5,000 GiB")],
)
def test_sizes_have_three_digits_and_a_unit(size_bytes: int, shown: str) -> None:
    assert figures.size(size_bytes) == shown


@pytest.mark.parametrize(("age_s", "shown"), [(5.9, "5 s"), (65, "1 min 5 s"), (3700, "1 h 1 min"), (90000, "1 d 1 h")])
def test_ages_have_their_two_largest_units(age_s: float, shown: str) -> None:
    assert figures.age(age_s) == shown


@pytest.mark.parametrize(("ms", "shown"), [(0.0, "0 ms"), (0.0123, "0.0123 ms"), (999, "999 ms"), (1500, "1.5 s")])
def test_latencies_become_seconds_from_one_on(ms: float, shown: str) -> None:
    assert figures.latency(ms) == shown


def test_a_status_says_what_matters() -> None:
    made = Figures()
    made.reads.count, made.reads.hit_bytes, made.reads.missed_bytes = 1234, 750, 250
    made.cache.corrupt_chunks = 1
    identity = Identity("/mnt/x", "http://h/", 42, 0.0)
    text = status.describe(status_of(identity, made, DurationHistogram(), 61.0, State.DEGRADED, ["the disk is full"]))
    lines = text.splitlines()
    assert lines[0] == "/mnt/x  degraded, up 1 min 1 s, pid 42"
    assert "mirror" not in text
    for words in ("the disk is full", "1,234 of", "75 % from the cache", "25 % fetched", "1 bad chunks"):
        assert words in text


def test_a_status_says_how_each_origin_is_doing() -> None:
    one = {"role": "mirror", "url": "http://m/", "state": "down", "requests": 1200, "bytes": 1 << 20}
    shown = status_of(Identity("/mnt/x", "http://h/", 42, 0.0), Figures(), DurationHistogram(), 61.0)
    text = status.describe({**shown, "mirrors": [{**one, "errors": 3, "latency_ms": 12.0}]})
    assert "  mirror    http://m/  down, 1,200 requests, 1 MiB, 3 errors, 12 ms" in text.splitlines()

"""Sizes and times as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.cli import quantities
from rangefs.core.settings import GiB, KiB, MiB, MinFree
from rangefs.errors import UsageError


@given(
    st.integers(0, 10**9), st.sampled_from([("", 1), ("B", 1), ("KiB", KiB), ("MiB", MiB), ("GB", 10**9), ("k", KiB)])
)
def test_a_size_is_its_number_times_its_unit(number: int, unit: tuple[str, int]) -> None:
    assert quantities.size_bytes(f"{number}{unit[0]}") == number * unit[1]


@given(st.text(max_size=12))
def test_any_text_is_a_size_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert quantities.size_bytes(text) >= 0


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert quantities.duration_s(text) >= 0


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("1.5GiB", 3 * GiB // 2), ("20 GiB", 20 * GiB), ("0", 0), ("10mb", 10_000_000), ("1T", 1 << 40)],
)
def test_sizes_as_people_write_them(text: str, size_bytes: int) -> None:
    assert quantities.size_bytes(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("60", 60), ("500ms", 0.5), ("1m", 60), ("1.5h", 5400), ("1d", 86400), ("0", 0)]
)
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert quantities.duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1e3", "GiB", "1 XiB", "0x10", "9" * 18 + "TB", "١GiB", "1.2.3", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        quantities.size_bytes(text)


@pytest.mark.parametrize("text", ["", "-1s", "1w", "1MiB", "inf", "99999999d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        quantities.duration_s(text)


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("5%", MinFree(0.05)),
        ("0%", MinFree(0.0)),
        ("2.5 %", MinFree(0.025)),
        ("1GiB", MinFree(0.0, GiB)),
        ("0", MinFree(0.0)),
    ],
)
def test_min_free_is_a_share_or_a_size(text: str, free: MinFree) -> None:
    assert quantities.min_free(text) == free


@pytest.mark.parametrize("text", ["100%", "-5%", "5MiB%", "%", "x"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        quantities.min_free(text)


@pytest.mark.parametrize(("text", "bits"), [("022", 0o22), ("0444", 0o444), ("0", 0), ("777", 0o777)])
def test_modes_are_octal(text: str, bits: int) -> None:
    assert quantities.octal(text) == bits


@pytest.mark.parametrize("text", ["8", "4755", "", "-1", "0o22"])
def test_modes_beyond_permission_bits_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        quantities.octal(text)


@pytest.mark.parametrize("text", ["0", "-1", "x", "1.5", ""])
def test_a_count_is_at_least_one(text: str) -> None:
    with pytest.raises(UsageError):
        quantities.count(text)

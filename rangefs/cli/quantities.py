"""Sizes, times and modes as people write them. Each function raises `UsageError` that names what it would take."""

from __future__ import annotations

import re
from fractions import Fraction

from rangefs.core.settings import MinFree
from rangefs.errors import UsageError

# K, M, G alone are binary, as in curl, rclone, dd and du.
SIZE_UNITS = {
    "": 1,
    "b": 1,
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", 1)},
    **{prefix: 1024**power for power, prefix in enumerate("kmgt", 1)},
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", 1)},
}
TIME_UNITS = {"": Fraction(1), "ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600)}
TIME_UNITS["d"] = 24 * TIME_UNITS["h"]
LARGEST_BYTES = 1 << 62  # still a signed 64-bit offset when two are added
LONGEST_S = Fraction(100 * 365 * 86400)
QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)", re.ASCII)


def size_bytes(text: str) -> int:
    """``20GiB``, ``1.5 GB``, ``64k``, ``4096`` → bytes, rounded down."""
    match = QUANTITY.fullmatch(text.strip())
    unit = SIZE_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a size: give a number and B, KiB, MiB, GiB, TiB, KB, MB, GB or TB")
    number = int(Fraction(match[1]) * unit)
    if number > LARGEST_BYTES:
        raise UsageError(f"{text!r} is too large")
    return number


def positive_size_bytes(text: str) -> int:
    """A size of at least one byte."""
    number = size_bytes(text)
    if number < 1:
        raise UsageError(f"{text!r} is too small: it must be more than 0")
    return number


def buffer_size_bytes(text: str) -> int:
    """A size that holds at least one request of the kernel (1 MiB, its largest read)."""
    number = size_bytes(text)
    if number < 1 << 20:
        raise UsageError(f"{text!r} is too small: at least 1MiB")
    return number


def duration_s(text: str) -> float:
    """``60s``, ``500ms``, ``1.5h``, ``1d``; a number alone is seconds."""
    match = QUANTITY.fullmatch(text.strip())
    unit = TIME_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise UsageError(f"{text!r} is not a time: give a number and ms, s, m, h or d")
    seconds = Fraction(match[1]) * unit
    if seconds > LONGEST_S:
        raise UsageError(f"{text!r} is too long")
    return float(seconds)


def positive_duration_s(text: str) -> float:
    """A time longer than 0."""
    seconds = duration_s(text)
    if seconds <= 0:
        raise UsageError(f"{text!r} is too short: it must be more than 0")
    return seconds


def min_free(text: str) -> MinFree:
    """``5%`` of the disk, or a size."""
    if not text.strip().endswith("%"):
        return MinFree(fraction=0.0, size_bytes=size_bytes(text))
    match = QUANTITY.fullmatch(text.strip()[:-1])
    if match is None or match[2] or Fraction(match[1]) >= 100:
        raise UsageError(f"{text!r} is not a share of the disk: give 0% to 99%, or a size")
    return MinFree(fraction=float(Fraction(match[1]) / 100))


def octal(text: str) -> int:
    """Permission bits, ``022`` or ``0444``: owner, group and others only."""
    if not re.fullmatch(r"0*[0-7]{1,3}", text, re.ASCII):
        raise UsageError(f"{text!r} are not permission bits: give octal digits such as 022 or 0444")
    return int(text, 8)


def count(text: str) -> int:
    """A whole number of at least 1."""
    if not re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) or int(text) < 1:
        raise UsageError(f"{text!r} is not a number of 1 or more")
    return int(text)

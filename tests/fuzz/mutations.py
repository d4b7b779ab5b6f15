"""Inputs that are nearly right: pieces cut out, doubled, swapped; numbers and marks made absurd."""

from __future__ import annotations

import random
import re

ABSURD = (
    *(b"", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"-1", b"99999999999999999999999999", b"1e999", b"NaN", b"null"),
    *(
        b"<",
        b">",
        b"&",
        b"&#0;",
        b"&#x110000;",
        b"&amp",
        b"%",
        b"%00",
        b"%2f",
        b"..",
        b"../",
        b"//",
        b"\r\n",
        b"\r\n\r\n",
    ),
    *(
        b'"',
        b"'",
        b"[",
        b"{",
        b"]]>",
        b"<!--",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
        b"\\ud800",
        b"\\u0000",
        b"2038-01-19",
    ),
    *(b"0000-00-00T00:00:00Z", b"9999-99-99", b"31-Feb-2020 25:61", b"http://", b"javascript:", b"data:,"),
)
NUMBER = re.compile(rb"\d+")


def mutated(data: bytes, draw: random.Random) -> bytes:
    """`data` with one to four changes."""
    for _ in range(draw.randint(1, 4)):
        data = draw.choice((_cut, _double, _swap, _insert, _flip, _number))(data, draw)
    return data


def _span(data: bytes, draw: random.Random) -> tuple[int, int]:
    start = draw.randint(0, len(data))
    return start, min(len(data), start + draw.choice((1, 2, 8, 40, 400)))


def _cut(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + data[end:]


def _double(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:end] + data[start:end] * draw.choice((1, 2, 50)) + data[end:]


def _swap(data: bytes, draw: random.Random) -> bytes:
    (a, b), (c, d) = sorted((_span(data, draw), _span(data, draw)))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:] if b <= c else data


def _insert(data: bytes, draw: random.Random) -> bytes:
    start, end = _span(data, draw)
    return data[:start] + draw.choice(ABSURD) + data[draw.choice((start, end)) :]


def _flip(data: bytes, draw: random.Random) -> bytes:
    if not data:
        return data
    at = draw.randrange(len(data))
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _number(data: bytes, draw: random.Random) -> bytes:
    numbers = list(NUMBER.finditer(data))
    if not numbers:
        return data
    found = draw.choice(numbers)
    other = draw.choice((b"0", b"-1", b"9" * 19, b"9" * 40, str(1 << 63).encode(), b"1" * 5000))
    return data[: found.start()] + other + data[found.end() :]

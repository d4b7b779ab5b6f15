"""How to ask for a range, and how to judge what comes back.

Everything an origin may answer to ``Range: bytes=a-b`` becomes one of the
verdicts below, by `judge`, before a byte of the body is read: SEMANTICS
section 3, RFC 9110 sections 14 and 15.3.7. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rangefs.core.validators import MAX_SIZE, Headers, StatOf, body_length, compatible, is_etag, stat_of
from rangefs.core.versions import Level, Stat, Version

# Worth asking again, unchanged (SEMANTICS section 2). 5xx that are not here are the origin's settled opinion.
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
#: of those, the ones that ask for fewer requests at a time
THROTTLED = frozenset({429, 503})
DENIED = frozenset({401, 402, 403, 407, 451})
MISSING = frozenset({404, 410})

# 19 digits hold every size a file can have; more is an attack on int() or on an allocation.
_CONTENT_RANGE = re.compile(r"bytes[ \t]+(?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A parsed Content-Range: bytes ``[start, end)`` of `total`; both 0 for the unsatisfied form ``*/total``.

    total  None where it says ``*``
    """

    start: int
    end: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """The asked bytes, or a first piece of them, are in the body: ``[start, end)`` of the version `stat`.

    end  None only for a whole body of unknown length
    """

    stat: Stat
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Whole:
    """The origin ignores ranges: the body is the whole object, of the version asked for."""

    stat: Stat


@dataclass(frozen=True, slots=True)
class Changed:
    """Another version answers."""

    stat: Stat


@dataclass(frozen=True, slots=True)
class Refused:
    """412: the pinned version is not there. Which one is, HEAD tells."""


@dataclass(frozen=True, slots=True)
class PastEnd:
    """416: nothing at the asked offset.

    total  the size, where the answer says it
    """

    total: int | None


@dataclass(frozen=True, slots=True)
class Missing:
    """404, 410."""


@dataclass(frozen=True, slots=True)
class Forbidden:
    """401, 403 and their kin."""

    status: int


@dataclass(frozen=True, slots=True)
class Again:
    """A status worth another try."""

    status: int


@dataclass(frozen=True, slots=True)
class Bad:
    """An answer that must not be believed.

    reason  one line, for people
    """

    reason: str


Verdict = Part | Whole | Changed | Refused | PastEnd | Missing | Forbidden | Again | Bad


def range_header(start: int, end: int) -> str:
    """The value of Range for bytes ``[start, end)``: one range, both ends given."""
    if not 0 <= start < end:
        raise ValueError(f"no range: [{start}, {end})")
    return f"bytes={start}-{end - 1}"


def parse_content_range(text: str) -> ContentRange | None:
    """RFC 9110 14.4; None for anything malformed, inverted or beyond its own total."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        return None
    total = None if match[3] == "*" else int(match[3])
    if total is not None and total > MAX_SIZE:
        return None
    if match[1] is None:
        return None if total is None else ContentRange(0, 0, total)
    first, last = int(match[1]), int(match[2])
    if last < first or last >= MAX_SIZE or (total is not None and last >= total):
        return None
    return ContentRange(first, last + 1, total)


def judge(
    status: int,
    headers: Headers,
    key: bytes,
    start: int,
    end: int,
    pin: Version | None,
    now: float,
    stat_of: StatOf = stat_of,
) -> Verdict:
    """The verdict on an answer to a GET of ``[start, end)`` of `key`, pinned to `pin` where one is given.

    now      seconds since the epoch, for answers without a Date
    stat_of  how to read a version from headers
    """
    # rclone's S3 server answers ranges with status 200: its Content-Range makes it one, and has to be a good one.
    if status == 206 or (status == 200 and "content-range" in headers):
        return _judge_part(headers, key, start, end, pin, now, stat_of)
    if status == 200:
        return _judge_whole_for_range(headers, key, start, end, pin, now, stat_of)
    if status == 416:
        return _judge_unsatisfied(headers)
    return _judge_status(status, pin)


def judge_whole(
    status: int, headers: Headers, key: bytes, pin: Version | None, now: float, stat_of: StatOf = stat_of
) -> Verdict:
    """The verdict on an answer to a plain GET of all of `key`, or to a HEAD."""
    if status != 200:
        return _judge_status(status, pin)
    stat = stat_of(key, headers, body_length(headers), now)
    if pin is not None and not compatible(pin, stat):
        return Changed(stat)
    return Part(stat, 0, stat.version.size)


def _judge_status(status: int, pin: Version | None) -> Verdict:
    if status == 412 and pin is not None:
        return Refused()
    if status in RETRYABLE:
        return Again(status)
    if status in MISSING:
        return Missing()
    if status in DENIED:
        return Forbidden(status)
    return Bad(f"unexpected status {status}")


def _judge_part(
    headers: Headers, key: bytes, start: int, end: int, pin: Version | None, now: float, stat_of: StatOf
) -> Verdict:
    if headers.get("content-type", "").lower().startswith("multipart/byteranges"):
        return Bad("several ranges in the answer, one was asked")
    found = parse_content_range(headers.get("content-range", ""))
    if found is None or found.end == 0:
        return Bad("no usable Content-Range")
    length = body_length(headers)
    if length is not None and length != found.end - found.start:
        return Bad(f"Content-Length {length} for a range of {found.end - found.start} bytes")
    total = found.total
    stat = stat_of(key, headers, total, now)
    if pin is not None and not compatible(pin, stat):
        return Changed(stat)
    if total is None and pin is not None and pin.size is not None:
        if not _confirms(pin, stat):
            return Bad("Content-Range without a total, and no validator to stand for it")
        stat = stat_of(key, headers, pin.size, now)
    if found.start != start or found.end > end:
        return Bad(f"asked for [{start}, {end}), got [{found.start}, {found.end})")
    size = stat.version.size
    if size is not None and found.end > size:
        return Bad(f"a range up to {found.end} of an object of {size} bytes")
    return Part(stat, found.start, found.end)


def _confirms(pin: Version, seen: Stat) -> bool:
    """Does the validator alone, without a size, tie `seen` to `pin`? (They are known to be compatible.)"""
    return pin.level is not Level.NONE and is_etag(pin.validator) == is_etag(seen.version.validator)


def _judge_whole_for_range(
    headers: Headers, key: bytes, start: int, end: int, pin: Version | None, now: float, stat_of: StatOf
) -> Verdict:
    stat = stat_of(key, headers, body_length(headers), now)
    if pin is not None and not compatible(pin, stat):
        return Changed(stat)
    size = stat.version.size
    if size == 0:
        return Part(stat, start, start)  # nginx and Apache answer any range of an empty file so
    if size is not None and start == 0 and size <= end:
        return Part(stat, 0, size)  # all there is was asked for: the whole body is the range
    return Whole(stat)


def _judge_unsatisfied(headers: Headers) -> Verdict:
    found = parse_content_range(headers.get("content-range", ""))
    return PastEnd(found.total if found is not None and found.end == 0 else None)

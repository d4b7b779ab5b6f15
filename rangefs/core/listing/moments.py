"""Times as upstreams write them, as ns since the epoch. None where the text is no such time.

Where a text has no zone, UTC is assumed and the caller says so with `ZONELESS_NS`.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache

SECOND_NS = 1_000_000_000

ZONELESS_NS = 14 * 3600 * SECOND_NS
"""How far off a time without a zone may be when read as UTC: local times span UTC−12 to UTC+14."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MONTHS = {
    month: number
    for number, month in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}
# RFC 3339, and Go's time.String(), which rclone writes: "2026-11-23 19:46:53.065 +0000 UTC".
_ISO = re.compile(
    rb"\s*(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9})\d*)?\s*(?:([Zz])|([+-])(\d\d):?(\d\d))"
)
# RFC 9110 section 5.6.7, IMF-fixdate.
_HTTP = re.compile(rb"\s*[A-Z][a-z]{2}, (\d\d?) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) (?:GMT|UTC|\+0000)")


def moment_ns(
    year: bytes,
    month: bytes,
    day: bytes,
    hour: bytes,
    minute: bytes,
    second: bytes = b"0",
    *,
    offset_s: int = 0,
    fraction_ns: int = 0,
) -> int | None:
    """The moment of these digits (month: digits or three letters), `offset_s` seconds east of UTC."""
    days = _days(year, month, day)
    hours, minutes, seconds = int(hour), int(minute), int(second)
    if days is None or hours > 23 or minutes > 59 or seconds > 60:
        return None
    return (days * 86400 + hours * 3600 + minutes * 60 + seconds - offset_s) * SECOND_NS + fraction_ns


@lru_cache(maxsize=1024)  # the files of a folder share a few days
def _days(year: bytes, month: bytes, day: bytes) -> int | None:
    try:
        number = _MONTHS.get(month.lower()) or int(month)
        return date(int(year), number, int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None


def iso_ns(text: bytes) -> int | None:
    """RFC 3339 with its zone, exact to the ns."""
    if not (found := _ISO.match(text)):
        return None
    *digits, fraction, _, sign, zone_hour, zone_minute = found.groups()
    offset_s = 0
    if sign:
        offset_s = (int(zone_hour) * 3600 + int(zone_minute) * 60) * (-1 if sign == b"-" else 1)
    fraction_ns = int(fraction.ljust(9, b"0")) if fraction else 0
    return moment_ns(*digits, offset_s=offset_s, fraction_ns=fraction_ns)


def http_ns(text: bytes) -> int | None:
    """``Mon, 23 Nov 2026 19:46:53 GMT``."""
    if not (found := _HTTP.match(text)):
        return None
    day, month, year, hour, minute, second = found.groups()
    return moment_ns(year, month, day, hour, minute, second)

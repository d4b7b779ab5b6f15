"""What an answer's headers say about a version, and what to ask so that no other version answers.

Pure: headers in, values out. A `Headers` maps lower-case names to their
values, repeated fields joined with ``", "`` (RFC 9110 section 5.3).

Sources of the rules: RFC 9110 sections 8.8 (validators), 13.1 (preconditions),
15.3.7.3 (what may be combined), and SEMANTICS section 1 for what real servers do.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Mapping
from email.utils import mktime_tz, parsedate_tz
from functools import lru_cache

from rangefs.core.versions import Level, Stat, Version

Headers = Mapping[str, str]

StatOf = Callable[[bytes, Headers, int | None, float], Stat]
"""What an answer says of an object, in the way of its kind of origin: `stat_of` is a web server's."""

# A validator made of time and size (nginx, and others) does not see a second write within its own second.
# RFC 9110 8.8.2.2 asks for one second between Last-Modified and Date; a server's clock tick may hide one more.
YOUNG_S = 2

# entity-tag = [ "W/" ] DQUOTE *etagc DQUOTE (RFC 9110 8.8.3). Anything else is no tag: not sent back, not trusted.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"')
_IMF_FIXDATE = re.compile(r"[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_LONGEST_DATE = 64
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
#: the largest size that a file can have on Linux (off_t); a larger one is a lie or an attack
MAX_SIZE = (1 << 63) - 1
# What fits Stat.mtime_ns on every kernel interface (signed 64-bit ns): 1677 to 2262. A date outside is no date.
_MAX_EPOCH_S = (1 << 63) // 1_000_000_000 - 1


@lru_cache(1024)
def parse_date(text: str) -> int | None:
    """Seconds since the epoch for an HTTP date in any of its three forms (RFC 9110 5.6.7), None if it is none."""
    if len(text) > _LONGEST_DATE:
        return None
    match = _IMF_FIXDATE.fullmatch(text)
    if match and match[2] in _MONTHS:
        day, year, hour, minute, second = (int(match[n]) for n in (1, 3, 4, 5, 6))
        if not (1 <= day <= 31 and year >= 1 and hour < 24 and minute < 60 and second <= 60):
            return None
        seconds = calendar.timegm((year, _MONTHS[match[2]], day, hour, minute, second))
    else:
        seconds_or_none = _parse_obsolete_date(text)
        if seconds_or_none is None:
            return None
        seconds = seconds_or_none
    return seconds if abs(seconds) <= _MAX_EPOCH_S else None


def _parse_obsolete_date(text: str) -> int | None:
    """RFC 850 and asctime dates, and whatever else `email.utils` can make out."""
    try:
        fields = parsedate_tz(text)
        return None if fields is None else int(mktime_tz(fields))
    except (ValueError, OverflowError, IndexError, TypeError):
        return None


def parse_etag(text: str) -> str:
    """The entity tag as it stands, with quotes and ``W/``; "" for none, an empty one, or something that is no tag."""
    text = text.strip()
    return text if _ETAG.fullmatch(text) and not text.endswith('""') else ""


def is_weak(etag: str) -> bool:
    return etag.startswith("W/")


def is_etag(validator: str) -> bool:
    """Tells a validator that is an entity tag from one that is a date."""
    return validator.endswith('"')


def version_id_of(version: Version) -> str:
    """The id of an IMMUTABLE version, without the tag that may stand before it."""
    tag, at, version_id = version.validator.partition('"@')
    return version_id if at and tag.startswith(('"', "W/")) else version.validator


def tag_of(version: Version) -> str:
    """The entity tag in a version's validator: all of it, or what stands before a version id; "" for none."""
    if version.level is Level.IMMUTABLE:
        return version.validator.removesuffix(version_id_of(version)).removesuffix("@")
    return version.validator if is_etag(version.validator) else ""


def content_encoding(headers: Headers) -> str:
    """The stored coding of the bytes, "" for identity."""
    coding = headers.get("content-encoding", "").strip().lower()
    return "" if coding == "identity" else coding


def body_length(headers: Headers) -> int | None:
    """Content-Length, or None where it is absent, unusable, or overruled by a Transfer-Encoding."""
    text = headers.get("content-length", "").strip()
    if "transfer-encoding" in headers or not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    return int(text) if int(text) <= MAX_SIZE else None


def stat_of(key: bytes, headers: Headers, size: int | None, now: float) -> Stat:
    """What an answer says of the object `key`.

    size  of the whole object, as this answer told it (Content-Range's total, or Content-Length of a whole body)
    now   seconds since the epoch, for answers that carry no Date
    """
    modified_s = parse_date(headers.get("last-modified", "").strip())
    served_s = parse_date(headers.get("date", "").strip())
    young = modified_s is not None and modified_s > (now if served_s is None else served_s) - YOUNG_S
    return _stat(key, headers, size, young=young)


def stored_stat_of(version_header: str, listed_by_tag: bool = False) -> StatOf:
    """`stat_of` for an object store: it hashes content, so no object is young, and may give each version an id.

    version_header  the header that carries the id (``x-amz-version-id``); "null" is no id (S3, versioning suspended)
    listed_by_tag   the store's listings have ETags and no ids (S3), so the validator holds both: ``"tag"@id``
    """

    def stat_of_stored(key: bytes, headers: Headers, size: int | None, now: float) -> Stat:
        version_id = headers.get(version_header, "").strip()
        return _stat(
            key,
            headers,
            size,
            young=False,
            version_id="" if version_id == "null" else version_id,
            listed_by_tag=listed_by_tag,
        )

    return stat_of_stored


def _stat(
    key: bytes, headers: Headers, size: int | None, young: bool, version_id: str = "", listed_by_tag: bool = False
) -> Stat:
    etag = parse_etag(headers.get("etag", ""))
    last_modified = headers.get("last-modified", "").strip()
    modified_s = parse_date(last_modified)
    if version_id:
        level, validator = Level.IMMUTABLE, f"{etag}@{version_id}" if etag and listed_by_tag else version_id
    elif etag:
        level = Level.WEAK if young or is_weak(etag) else Level.STRONG
        validator = etag
    elif modified_s is not None:
        level = Level.WEAK if young else Level.DATE
        validator = last_modified
    else:
        level, validator = Level.NONE, ""
    version = Version(key, level, validator, size, content_encoding(headers))
    return Stat(version, None if modified_s is None else modified_s * 1_000_000_000)


def preconditions(pin: Version | None) -> dict[str, str]:
    """The header that makes the origin refuse (412) to answer from another version, where one can be sent.

    If-Match with a strong tag only: tags that are weak never match it (RFC 9110 13.1.1), and some origins
    that have no tags answer 412 to any. If-Match, not If-Range: a failed If-Range sends the whole body.
    """
    if pin is None or pin.level not in (Level.STRONG, Level.DATE):
        return {}
    return {"if-match" if pin.level is Level.STRONG else "if-unmodified-since": pin.validator}


def compatible(pin: Version, seen: Stat) -> bool:
    """May bytes of the answer `seen` stand beside those of `pin`?

    Sizes and encodings must agree where both are known. Tags must be equal, but for Apache, which gives a file
    just written ``W/"x"`` and ``"x"`` once it has aged. An answer without a tag is judged by its date where the
    pin has one, else by its size. An answer that has a validator where the pin had none is another page. Version ids
    and generations are equal or they are not.
    """
    other = seen.version
    if pin.encoding != other.encoding:
        return False
    if pin.size is not None and other.size is not None and pin.size != other.size:
        return False
    if pin.level is Level.IMMUTABLE:
        return other.level is Level.IMMUTABLE and version_id_of(other) == version_id_of(pin)
    if pin.level is Level.NONE:
        return other.level is Level.NONE
    if not is_etag(pin.validator):
        modified_s = parse_date(pin.validator)
        if modified_s is None:
            return False
        # the shown time may be a catalog's
        return parse_date(other.validator) == modified_s or seen.mtime_ns == modified_s * 1_000_000_000
    if is_etag(other.validator):
        return other.validator == pin.validator or pin.validator == "W/" + other.validator
    return pin.size is not None and pin.size == other.size

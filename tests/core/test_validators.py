"""Versions from headers: levels, youth, and which answers may stand beside a pin."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.validators import (
    YOUNG_S,
    body_length,
    compatible,
    is_etag,
    parse_date,
    parse_etag,
    preconditions,
    stat_of,
    stored_stat_of,
    tag_of,
    version_id_of,
)
from rangefs.core.versions import Level, Stat, Version
from tests.core.captures import SERVERS, capture

NOW = 1_800_000_000
SECONDS = st.integers(0, 4_000_000_000)


def http_date(seconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def seen(size: int | None = 10, now: float = NOW, **fields: str) -> Stat:
    return stat_of(b"key", {name.replace("_", "-"): value for name, value in fields.items()}, size, now)


@given(SECONDS)
def test_every_date_survives_its_formatting(seconds: int) -> None:
    assert parse_date(http_date(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("", None),
        ("0", None),
        ("never", None),
        ("Mon, 99 Foo 2020 00:00:00 GMT", None),
        ("Mon, 31 Dec 9999 23:59:59 GMT", None),
    ],
)
def test_dates_in_all_three_forms_of_the_rfc(text: str, seconds: int | None) -> None:
    assert parse_date(text) == seconds


@given(st.text(max_size=60))
def test_no_text_breaks_the_date_parser(text: str) -> None:
    assert parse_date(text) is None or isinstance(parse_date(text), int)


@pytest.mark.parametrize(
    ("text", "etag"),
    [
        ('"x"', '"x"'),
        ('W/"x"', 'W/"x"'),
        (' "x" ', '"x"'),
        ("x", ""),
        ('""', ""),
        ('W/""', ""),
        ('"a", "b"', ""),
        ('w/"x"', ""),
        ('"a b"', ""),
        ("", ""),
    ],
)
def test_only_well_formed_and_filled_tags_count(text: str, etag: str) -> None:
    assert parse_etag(text) == etag


def test_aged_strong_tag_is_strong_and_aged_date_is_date() -> None:
    old = http_date(NOW - 1000)
    date = http_date(NOW)
    assert seen(etag='"x"', last_modified=old, date=date).version == Version(b"key", Level.STRONG, '"x"', 10)
    assert seen(last_modified=old, date=date).version == Version(b"key", Level.DATE, old, 10)
    assert seen(etag='"x"').version.level is Level.STRONG
    assert seen(etag='W/"x"', last_modified=old, date=date).version.level is Level.WEAK
    assert seen().version == Version(b"key", Level.NONE, "", 10)


@given(SECONDS, st.integers(-5, 5), st.booleans())
def test_young_and_future_files_are_weak(served: int, age: int, tagged: bool) -> None:
    fields: dict[str, Any] = {"etag": '"x"'} if tagged else {}
    if served - age < 0:
        return
    stat = seen(last_modified=http_date(served - age), date=http_date(served), **fields)
    aged = Level.STRONG if tagged else Level.DATE
    assert stat.version.level is (aged if age >= YOUNG_S else Level.WEAK)


def test_without_a_date_our_own_clock_tells_youth() -> None:
    modified = http_date(NOW - 1)
    assert seen(etag='"x"', last_modified=modified, now=NOW).version.level is Level.WEAK
    assert seen(etag='"x"', last_modified=modified, now=NOW + 5).version.level is Level.STRONG


def test_preconditions_go_with_strong_tags_and_dates_only() -> None:
    def sent(level: Level, validator: str) -> dict[str, str]:
        return preconditions(Version(b"key", level, validator, 1))

    date = http_date(NOW)
    assert sent(Level.STRONG, '"x"') == {"if-match": '"x"'}
    assert sent(Level.DATE, date) == {"if-unmodified-since": date}
    assert sent(Level.WEAK, 'W/"x"') == sent(Level.WEAK, date) == sent(Level.NONE, "") == {}
    assert sent(Level.IMMUTABLE, "17") == preconditions(None) == {}


def test_an_answer_is_compatible_with_itself() -> None:
    for fields in ({"etag": '"x"'}, {"etag": 'W/"x"'}, {"last_modified": http_date(NOW - 100)}, {}):
        stat = seen(**fields)  # type: ignore[arg-type]
        assert compatible(stat.version, stat)


def test_weak_tag_of_a_young_apache_file_accepts_its_strong_form_but_not_the_other_way() -> None:
    weak, strong = seen(etag='W/"x"'), seen(etag='"x"')
    assert compatible(weak.version, strong)
    assert not compatible(strong.version, weak)


def test_a_young_pin_accepts_the_same_tag_when_it_has_aged() -> None:
    young = seen(etag='"x"', last_modified=http_date(NOW), now=NOW)
    aged = seen(etag='"x"', last_modified=http_date(NOW), now=NOW + 10)
    assert compatible(young.version, aged)


def test_any_difference_in_tag_size_encoding_or_date_is_another_version() -> None:
    old, older = http_date(NOW - 100), http_date(NOW - 200)
    pin = seen(etag='"x"', last_modified=old).version
    assert not compatible(pin, seen(etag='"y"', last_modified=old))
    assert not compatible(pin, seen(etag='"x"', last_modified=old, size=11))
    assert not compatible(pin, seen(etag='"x"', last_modified=old, content_encoding="gzip"))
    dated = seen(last_modified=old).version
    assert not compatible(dated, seen(last_modified=older))
    assert not compatible(dated, seen())
    assert compatible(dated, seen(last_modified=old, etag='"new"'))


def test_an_answer_with_a_validator_is_never_joined_to_one_that_had_none() -> None:
    login_page = seen(size=79).version
    assert not compatible(login_page, seen(size=None, last_modified=http_date(NOW - 100)))
    assert not compatible(login_page, seen(size=None, etag='W/"x"'))
    assert compatible(login_page, seen(size=79))


def test_a_missing_tag_is_made_up_for_by_the_size_alone() -> None:
    pin = seen(etag='"x"').version
    assert compatible(pin, seen())
    assert not compatible(pin, seen(size=None))
    assert not compatible(pin, seen(size=11))


def test_content_length_counts_only_where_it_frames_the_body() -> None:
    assert body_length({"content-length": "12"}) == 12
    for bad in ({"content-length": "12", "transfer-encoding": "chunked"}, {"content-length": "-1"}, {}):
        assert body_length(bad) is None
    for enormous in ("9" * 40, "9" * 5000, str(1 << 63)):
        assert body_length({"content-length": enormous}) is None
    assert body_length({"content-length": str((1 << 63) - 1)}) == (1 << 63) - 1
    assert body_length({"content-length": "1, 1"}) is None


@pytest.mark.parametrize("server", SERVERS)
def test_real_servers_give_versions_that_last(server: str) -> None:
    answer = capture(server, "head")
    stat = stat_of(b"text.txt", answer.headers, body_length(answer.headers), NOW)
    assert stat.version.level.durable
    assert stat.version.size == 112_000
    assert is_etag(stat.version.validator) is ("etag" in answer.headers)
    part = capture(server, "range-206")
    assert compatible(stat.version, stat_of(b"text.txt", part.headers, 112_000, NOW))


def test_a_version_id_may_have_the_tag_before_it_that_listings_know() -> None:
    seen = stored_stat_of("x-id", listed_by_tag=True)
    both = seen(b"k", {"etag": '"t"', "x-id": 'odd"@id'}, 1, 0.0).version
    assert (both.level, tag_of(both), version_id_of(both)) == (Level.IMMUTABLE, '"t"', 'odd"@id')
    bare = seen(b"k", {"x-id": "17"}, 1, 0.0).version
    assert (tag_of(bare), version_id_of(bare)) == ("", "17")
    plain = stored_stat_of("x-id")(b"k", {"etag": '"t"', "x-id": "17"}, 1, 0.0).version
    assert (plain.validator, tag_of(plain), version_id_of(plain)) == ("17", "", "17")


def test_version_ids_are_equal_or_they_are_not() -> None:
    seen = stored_stat_of("x-id", listed_by_tag=True)
    pin = seen(b"k", {"etag": '"t"', "x-id": "1"}, 1, 0.0).version
    assert compatible(pin, seen(b"k", {"x-id": "1"}, 1, 0.0))
    assert not compatible(pin, seen(b"k", {"etag": '"t"', "x-id": "2"}, 1, 0.0))
    assert not compatible(pin, seen(b"k", {"etag": '"t"'}, 1, 0.0))

"""Judging answers to ranges: only what is provably the asked bytes of the pinned version gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.ranges import (
    Again,
    Bad,
    Changed,
    ContentRange,
    Forbidden,
    Missing,
    Part,
    PastEnd,
    Refused,
    Verdict,
    Whole,
    judge,
    judge_whole,
    parse_content_range,
    range_header,
)
from rangefs.core.validators import stat_of
from rangefs.core.versions import Level, Version
from tests.core.captures import SERVERS, capture

NOW = 1_800_000_000.0
PIN = Version(b"key", Level.STRONG, '"x"', 1000)


def judged(status: int, headers: dict[str, str], start: int, end: int, pin: Version | None = PIN) -> Verdict:
    return judge(status, headers, b"key", start, end, pin, NOW)


def part(start: int, end: int, total: int | str = 1000, **more: str) -> dict[str, str]:
    fields = {"content-range": f"bytes {start}-{end - 1}/{total}", "content-length": str(end - start), "etag": '"x"'}
    return fields | {name.replace("_", "-"): value for name, value in more.items()}


@given(st.integers(0, 10**18), st.integers(1, 10**18), st.one_of(st.none(), st.integers(0, 10**18)))
def test_content_range_survives_its_formatting(start: int, length: int, beyond: int | None) -> None:
    total = None if beyond is None else start + length + beyond
    text = f"bytes {start}-{start + length - 1}/{'*' if total is None else total}"
    assert parse_content_range(text) == ContentRange(start, start + length, total)
    assert range_header(start, start + length) == f"bytes={start}-{start + length - 1}"


@pytest.mark.parametrize(
    "text",
    ["", "bytes", "bytes 1-0/9", "bytes 0-9/9", "bytes */*", "bytes 0-1", "items 0-1/2", "bytes -1-2/9", "bytes 0-1/2x",
     "bytes=0-1/2", "bytes 0-1/2, bytes 0-1/2", "bytes 0-" + "9" * 30 + "/*", "bytes ٠-١/٢",
     f"bytes 0-1/{1 << 63}", f"bytes 0-{(1 << 63) - 1}/*", f"bytes */{1 << 63}"],
)  # fmt: skip
def test_malformed_content_range_is_none(text: str) -> None:
    assert parse_content_range(text) is None


@given(
    st.integers(0, 40),
    st.integers(1, 40),
    st.integers(0, 40),
    st.integers(1, 40),
    st.one_of(st.none(), st.integers(0, 90)),
    st.sampled_from(['"x"', '"y"', "", 'W/"x"']),
    st.one_of(st.none(), st.integers(0, 80)),
    st.sampled_from([200, 206]),
    st.sampled_from(["", "gzip"]),
)
def test_accepted_exactly_when_every_rule_holds(
    start: int,
    length: int,
    first: int,
    got: int,
    total: int | None,
    etag: str,
    body: int | None,
    status: int,
    coding: str,
) -> None:
    """The checklist of SEMANTICS section 3 in the plainest words, as the model."""
    end, size = start + length, 50
    pin = Version(b"key", Level.STRONG, '"x"', size)
    headers = {"content-range": f"bytes {first}-{first + got - 1}/{'*' if total is None else total}", "etag": etag}
    if body is not None:
        headers["content-length"] = str(body)
    if coding:
        headers["content-encoding"] = coding
    verdict = judged(status, headers, start, end, pin)
    rules = (
        first == start,
        first + got <= end,
        first + got <= (size if total is None else total),
        total == size or (total is None and etag == '"x"'),
        etag in ('"x"', ""),
        body in (None, got),
        coding == "",
    )
    assert isinstance(verdict, Part) is all(rules)
    if isinstance(verdict, Part):
        assert (verdict.start, verdict.end) == (start, first + got)
        assert verdict.stat.version.size == size


def test_a_shorter_range_is_accepted_as_far_as_it_goes() -> None:
    verdict = judged(206, part(100, 150), 100, 200)
    assert isinstance(verdict, Part)
    assert (verdict.start, verdict.end) == (100, 150)


def test_another_tag_total_or_coding_is_a_change_that_tells_the_new_version() -> None:
    for headers in (part(0, 10, etag='"y"'), part(0, 10, 999), part(0, 10, content_encoding="br")):
        verdict = judged(206, headers, 0, 10)
        assert isinstance(verdict, Changed)
        assert verdict.stat.version != PIN


def test_several_ranges_are_refused_even_with_a_content_range() -> None:
    assert isinstance(judged(206, part(0, 10, content_type="Multipart/ByteRanges; boundary=x"), 0, 10), Bad)


def test_without_a_pin_whatever_version_answers_is_told() -> None:
    verdict = judged(206, part(0, 10, 10), 0, 65_536, None)
    assert isinstance(verdict, Part)
    assert (verdict.end, verdict.stat.version) == (10, Version(b"key", Level.STRONG, '"x"', 10))


def test_200_to_a_range_is_a_change_or_an_origin_that_ignores_ranges() -> None:
    same = {"etag": '"x"', "content-length": "1000"}
    assert isinstance(judged(200, same, 10, 20), Whole)
    assert isinstance(judged(200, same | {"etag": '"y"'}, 10, 20), Changed)
    assert isinstance(judged(200, same | {"content-length": "7"}, 10, 20), Changed)
    assert isinstance(judged(200, {"etag": '"x"', "transfer-encoding": "chunked"}, 0, 2000), Whole)


@pytest.mark.parametrize("span", ["bytes all of it", f"bytes 0-{'9' * 24}/{'9' * 25}", "bytes */1000", ""])
def test_200_with_a_content_range_that_cannot_be_read_never_passes_for_the_whole(span: str) -> None:
    headers = {"content-range": span, "content-length": "100", "etag": '"x"'}
    assert isinstance(judged(200, headers, 0, 100), Bad)
    assert isinstance(judged(200, headers, 0, 1 << 62, pin=None), Bad)


def test_200_with_all_that_was_asked_is_the_range() -> None:
    verdict = judged(200, {"etag": '"x"', "content-length": "1000"}, 0, 4096)
    assert isinstance(verdict, Part)
    assert (verdict.start, verdict.end) == (0, 1000)


def test_statuses_mean_what_they_mean() -> None:
    for status in (408, 425, 429, 500, 502, 503, 504):
        assert judged(status, {}, 0, 10) == Again(status)
    for status in (404, 410):
        assert judged(status, {}, 0, 10) == Missing()
    for status in (401, 403, 407, 451):
        assert judged(status, {}, 0, 10) == Forbidden(status)
    for status in (204, 304, 300, 400, 405, 501, 505):
        assert isinstance(judged(status, {}, 0, 10), Bad)
    assert judged(412, {}, 0, 10) == Refused()
    assert isinstance(judged(412, {}, 0, 10, None), Bad)
    assert judged(416, {"content-range": "bytes */77"}, 0, 10) == PastEnd(77)
    assert judged(416, {}, 0, 10) == PastEnd(None)


def test_a_whole_answer_must_be_of_the_pinned_version() -> None:
    headers = {"etag": '"x"', "content-length": "1000"}
    verdict = judge_whole(200, headers, b"key", PIN, NOW)
    assert isinstance(verdict, Part)
    assert (verdict.start, verdict.end) == (0, 1000)
    assert isinstance(judge_whole(200, headers | {"etag": '"y"'}, b"key", PIN, NOW), Changed)
    assert isinstance(judge_whole(206, headers, b"key", PIN, NOW), Bad)
    unknown = judge_whole(200, {"transfer-encoding": "chunked"}, b"key", None, NOW)
    assert isinstance(unknown, Part)
    assert unknown.end is None


@given(
    st.integers(100, 599),
    st.dictionaries(
        st.sampled_from(["content-range", "content-length", "etag", "last-modified", "date", "content-type"]),
        st.one_of(st.text(max_size=30), st.from_regex(r"bytes \d{1,3}-\d{1,3}/(\d{1,4}|\*)", fullmatch=True)),
    ),
)
def test_no_answer_breaks_the_judge_or_passes_other_bytes(status: int, headers: dict[str, str]) -> None:
    verdict = judged(status, headers, 10, 20)
    if isinstance(verdict, Part):
        assert verdict.start == 10
        assert verdict.end is not None
        assert 10 <= verdict.end <= 20


@pytest.mark.parametrize("server", SERVERS)
def test_real_answers_get_their_verdicts(server: str) -> None:
    head = capture(server, "head")
    pin = stat_of(b"key", head.headers, 112_000, NOW).version
    answer = capture(server, "range-206")
    ranged = server != "python-http.server"
    assert isinstance(judged(answer.status, answer.headers, 100, 200, pin), Part if ranged else Whole)
    past = capture(server, "range-416")
    assert isinstance(judged(past.status, past.headers, 999_999, 1_000_100, pin), PastEnd if ranged else Whole)
    gone = capture(server, "notfound")
    assert judged(gone.status, gone.headers, 0, 10, pin) == Missing()
    if ranged:
        several = capture(server, "multirange")
        assert isinstance(judged(several.status, several.headers, 0, 110, pin), Bad | Whole)

"""Heads of questions: as h11 would write them, and none that it would refuse."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer
from rangefs.sources.heads import Request, head_of
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Honest, origin

TEXT = st.text(st.characters(max_codepoint=0x17F), max_size=12)
FIELDS = st.dictionaries(st.one_of(TEXT, st.sampled_from(["range", "If-Match", "x-a"])), TEXT, max_size=4)


def written_by_h11(method: str, target: bytes, headers: dict[str, str]) -> bytes:
    talk = h11.Connection(h11.CLIENT)
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return (talk.send(h11.Request(method=method, target=target, headers=raw)) or b"") + (
        talk.send(h11.EndOfMessage()) or b""
    )


@given(st.sampled_from(["GET", "HEAD", "PROPFIND", "get it"]), st.binary(max_size=9), FIELDS)
def test_what_is_written_is_what_h11_would_write(method: str, target: bytes, fields: dict[str, str]) -> None:
    headers = {"host": "host:1", **fields}
    try:
        head = Request(method, b"/" + target, headers).encode()
    except h11.LocalProtocolError:
        return
    assert head == written_by_h11(method, b"/" + target, headers)


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", b"/", {"host": "host", "x": "1\r\nrange: bytes=0-1"}),
        Request("GET", b"/", {"host": "host", "x": "1\nrange: bytes=0-1"}),
        Request("GET", b"/", {"host": "host", "x": "1\r\n\r\nGET /other HTTP/1.1"}),
        Request("GET", b"/", {"host": "host", "x: 1\r\ny": "2"}),
        Request("GET", b"/", {"host": "host", "x": "a\rb"}),
        Request("GET", b"/", {"host": "host", "x": "a\0b"}),
        Request("GET", b"/", {"host": "host", "x": " a"}),
        Request("GET", b"/", {"host": "host", "x": "\u0394"}),
        Request("GET", b"/", {"host": "host", "": "a"}),
        Request("GET", b"/ HTTP/1.1\r\nx: y", {"host": "host"}),
        Request("GET", b"/a b", {"host": "host"}),
        Request("GET", b"", {"host": "host"}),
        Request("GET /", b"/", {"host": "host"}),
    ],
    ids=repr,
)
def test_one_question_never_becomes_two(request_: Request) -> None:
    with pytest.raises(h11.LocalProtocolError):
        request_.encode()


async def test_a_tag_goes_back_byte_for_byte() -> None:
    honest = Honest(b"x" * 100, '"\xe9t\xe9\xff"')
    async with origin(honest) as server, opened(server.url, connect=False) as source:
        pin = (await source.stat(b"file")).version
        assert await read_range(source, b"file", 0, 10, pin) == b"x" * 10
        assert server.asked[-1].headers["if-match"] == honest.etag


async def test_a_question_that_is_no_http_is_never_asked() -> None:
    async with origin(Honest(b"x" * 100)) as server, opened(server.url, connect=False) as source:
        with pytest.raises(BadAnswer, match="not to be asked for in HTTP"):
            await read_range(source, b"file", 0, 10, Version(b"file", Level.STRONG, '"\r\nx: y"', 100))
        assert not server.asked


def test_repeated_fields_are_joined() -> None:
    head = head_of(h11.Response(status_code=206, headers=[("Content-Range", "a"), ("content-range", "b")]))
    assert head.headers == {"content-range": "a, b"}
    assert head.persists


@pytest.mark.parametrize(("version", "value"), [("1.0", "keep-alive"), ("1.1", "Close"), ("1.1", "x, close")])
def test_who_closes_says_so_or_is_old(version: str, value: str) -> None:
    response = h11.Response(status_code=200, headers=[("Connection", value)], http_version=version)
    assert not head_of(response).persists

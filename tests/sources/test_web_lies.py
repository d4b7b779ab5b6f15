"""The web source against an origin that misbehaves on purpose: right bytes, or one clear error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer, Denied, NotFound, RangefsError, RangesIgnored, Stale, Unreachable
from rangefs.sources.base import Source, Ticket, read_all
from rangefs.sources.web import WebSource
from tests.sources.reading import opened, read_range, read_whole
from tests.sources.scripted import Asked, Honest, Script, Wire, origin, reply

BODY = bytes(range(256)) * 40
PIN = Version(b"file", Level.STRONG, '"x"', len(BODY))


def always(answer: bytes | Callable[[Asked], bytes], keep: bool = True) -> Script:
    """The same bytes to every request; then the connection is closed unless `keep`."""

    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(answer if isinstance(answer, bytes) else answer(asked))
        return keep

    return script


def part(start: int, end: int, total: int | str = len(BODY), body: bytes | None = None, **headers: str) -> bytes:
    fields = {"content-range": f"bytes {start}-{end - 1}/{total}", "etag": '"x"'}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    return reply(206, fields, BODY[start:end] if body is None else body, length=body is None)


async def outcome(script: Script, start: int = 0, end: int = 1000, pin: Version | None = PIN) -> bytes | RangefsError:
    """What one pinned read comes to."""
    async with origin(script) as server, opened(server.url, connect=False) as source:
        try:
            return await read_range(source, b"file", start, end, pin)
        except RangefsError as error:
            return error


async def test_a_well_behaved_answer_is_read() -> None:
    assert await outcome(Honest(BODY), 100, 200) == BODY[100:200]


async def test_a_shorter_range_ends_where_it_says() -> None:
    assert await outcome(always(part(100, 150)), 100, 200) == BODY[100:150]


@pytest.mark.parametrize(
    "answer",
    [
        part(1, 1000),
        part(0, 1001),
        part(0, 1000, 999),
        reply(206, {"ETag": '"x"'}, BODY[:1000]),
        part(0, 1000, content_type="multipart/byteranges; boundary=x"),
        part(0, 1000, content_length="999", body=BODY[:999]),
        reply(204, {"ETag": '"x"'}),
        reply(304, {"ETag": '"x"'}),
        reply(400, {}, b"no"),
        reply(300, {}, b"choose"),
    ],
    ids=["shifted", "longer", "past-total", "no-range", "multipart", "length", "204", "304", "400", "300"],
)
async def test_wrong_ranges_are_bad_answers(answer: bytes) -> None:
    assert isinstance(await outcome(always(answer)), BadAnswer)


@pytest.mark.parametrize(
    "answer",
    [
        part(0, 1000, 20_000),
        part(0, 1000, etag='"y"'),
        part(0, 1000, content_encoding="gzip"),
        reply(200, {"Content-Type": "text/html"}, b"<html>Please log in</html>"),
        reply(404),
        reply(410),
    ],
    ids=["total", "etag", "gzip", "login-page", "404", "410"],
)
async def test_another_version_is_stale(answer: bytes) -> None:
    assert isinstance(await outcome(always(answer)), Stale)


async def test_weak_and_missing_tags_never_pass_for_the_strong_pin() -> None:
    assert isinstance(await outcome(always(part(0, 1000, etag='W/"x"'))), Stale)
    assert await outcome(always(part(0, 1000, etag=""))) == BODY[:1000]
    assert isinstance(await outcome(always(part(0, 1000, "*", etag=""))), Stale | BadAnswer)


async def test_changing_totals_and_drifting_tags_are_seen_at_once() -> None:
    answers = iter([part(0, 1000), part(1000, 2000, etag='"z"')])
    async with origin(always(lambda _: next(answers))) as server, opened(server.url, connect=False) as source:
        async with source.fetch(b"file", 0, 1000, None, Ticket()) as body:
            pin = body.stat.version
            assert await read_all(body, 1 << 20) == BODY[:1000]
        with pytest.raises(Stale) as stale:
            await read_range(source, b"file", 1000, 2000, pin)
        assert stale.value.stat is not None
        assert stale.value.stat.version.validator == '"z"'


# -- bodies --------------------------------------------------------------------


async def pieces_of(
    source: Source, end: int = 1000, when_it_comes: Callable[[], None] = lambda: None
) -> tuple[bytes, RangefsError | None]:
    """What a body yields before it ends, and how it ends."""
    got = b""
    try:
        async with source.fetch(b"file", 0, end, PIN, Ticket()) as body:
            buffer = memoryview(bytearray(64 << 10))
            while count := await body.readinto(buffer):
                got += buffer[:count]
                when_it_comes()
    except RangefsError as error:
        return got, error
    return got, None


FRAMINGS = ["content-length", "close", "chunked"]


def framed(framing: str, promised: int, body: bytes) -> bytes:
    """A 206 that promises `promised` bytes and holds `body`."""
    head = {"Content-Range": f"bytes 0-{promised - 1}/{len(BODY)}", "ETag": '"x"'}
    if framing == "content-length":
        return reply(206, head | {"Content-Length": str(promised)}, body)
    if framing == "chunked":
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return reply(206, head | {"Transfer-Encoding": "chunked"}, chunks)
    return reply(206, head, body, length=False)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_cut_off_body_yields_what_came_and_is_unreachable(framing: str) -> None:
    script = always(framed(framing, 1000, BODY[:600]), keep=False)
    async with origin(script) as server, opened(server.url, connect=False) as source:
        got, error = await pieces_of(source)
    assert got == BODY[:600]
    assert isinstance(error, Unreachable)


@pytest.mark.parametrize("framing", ["close", "chunked"])
async def test_a_body_longer_than_its_range_is_a_bad_answer(framing: str) -> None:
    script = always(framed(framing, 1000, BODY[:1500]), keep=False)
    async with origin(script) as server, opened(server.url, connect=False) as source:
        got, error = await pieces_of(source)
    assert BODY.startswith(got)
    assert isinstance(error, BadAnswer)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_every_framing_of_a_right_body_is_read(framing: str) -> None:
    script = always(framed(framing, 1000, BODY[:1000]), keep=False)
    async with origin(script) as server, opened(server.url, connect=False) as source:
        assert await pieces_of(source) == (BODY[:1000], None)


async def test_http_1_0_without_a_length_is_a_whole_of_unknown_size() -> None:
    script = always(b'HTTP/1.0 200 OK\r\nETag: "x"\r\n\r\n' + BODY, keep=False)
    async with origin(script) as server, opened(server.url, connect=False) as source:
        async with source.fetch_whole(b"file", None, Ticket()) as body:
            assert (body.end, body.stat.version.size) == (None, None)
            assert await read_all(body, 1 << 20) == BODY
        with pytest.raises(RangesIgnored):
            await read_range(source, b"file", 0, 100)


async def test_a_reset_in_the_body_is_unreachable_after_what_came() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(framed("content-length", 1000, BODY[:300]))
        await came.wait()
        await wire.reset()
        return False

    came = trio.Event()
    async with origin(script) as server, opened(server.url, connect=False) as source:
        got, error = await pieces_of(source, when_it_comes=came.set)
    assert got == BODY[:300]
    assert isinstance(error, Unreachable)


async def test_a_body_that_stalls_is_dropped() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(framed("content-length", 1000, BODY[:300]))
        await wire.closed_by_peer()
        return False

    async with origin(script) as server:
        source = WebSource(server.url, UpstreamSettings(), UpstreamFigures(), stall_timeout_s=0.1)
        got, error = await pieces_of(source)
        await source.aclose()
    assert got == BODY[:300]
    assert isinstance(error, Unreachable)


async def test_a_body_given_up_is_closed_not_drained() -> None:
    gone = trio.Event()

    async def script(asked: Asked, wire: Wire) -> bool:
        try:
            await wire.send(reply(200, {"ETag": '"x"', "Content-Length": str(1 << 40)}, b"x" * 100_000))
            await wire.closed_by_peer()
        finally:
            gone.set()
        return False

    async with origin(script) as server, opened(server.url, connect=False) as source:
        async with source.fetch_whole(b"file", None, Ticket()) as body:
            assert await body.readinto(memoryview(bytearray(1000)))
        with trio.fail_after(5):
            await gone.wait()


# -- tries -----------------------------------------------------------------------


def failing(times: int, how: Script, then: Script) -> Script:
    """`how` for the first requests, `then` for the rest."""
    left = times

    async def script(asked: Asked, wire: Wire) -> bool:
        nonlocal left
        if left:
            left -= 1
            return await how(asked, wire)
        return await then(asked, wire)

    return script


async def hang_up(asked: Asked, wire: Wire) -> bool:
    return False


async def reset(asked: Asked, wire: Wire) -> bool:
    await wire.reset()
    return False


async def half_a_header(asked: Asked, wire: Wire) -> bool:
    await wire.send(b"HTTP/1.1 206 Partial Content\r\nContent-Ra")
    return False


async def not_http(asked: Asked, wire: Wire) -> bool:
    await wire.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    return False


@pytest.mark.parametrize(
    "fault",
    [always(reply(status, {"Retry-After": "0"}, b"busy")) for status in (408, 425, 429, 500, 502, 503, 504)]
    + [hang_up, reset, half_a_header, not_http],
)
async def test_passing_faults_are_tried_again(fault: Script) -> None:
    figures = UpstreamFigures()
    async with (
        origin(failing(2, fault, Honest(BODY))) as server,
        opened(server.url, figures=figures, connect=False) as source,
    ):
        assert await read_range(source, b"file", 0, 1000, PIN) == BODY[:1000]
    assert figures.retries == 2
    assert figures.in_flight == 0
    assert figures.errors == 0


async def test_tries_are_bounded_and_end_in_unreachable(no_pauses: None) -> None:
    async with origin(always(reply(503))) as server, opened(server.url, connect=False) as source:
        with pytest.raises(Unreachable):
            await read_range(source, b"file", 0, 1000, PIN)
        assert len(server.asked) == 6


async def test_refusals_are_not_tried_again() -> None:
    for status, kind in ((401, Denied), (403, Denied), (404, NotFound), (501, BadAnswer)):
        async with origin(always(reply(status))) as server, opened(server.url, connect=False) as source:
            with pytest.raises(kind):
                await read_range(source, b"file", 0, 1000)
            assert len(server.asked) == 1


async def test_a_cancelled_fetch_leaves_no_slot_taken() -> None:
    figures = UpstreamFigures()

    async def silence(asked: Asked, wire: Wire) -> bool:
        await wire.closed_by_peer()
        return False

    async with (
        origin(failing(20, silence, Honest(BODY))) as server,
        opened(server.url, figures=figures, connect=False) as source,
    ):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(read_range, source, b"file", 0, 10, PIN)
            with trio.fail_after(5):
                while len(server.asked) < 16:
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert figures.in_flight == 0
        with trio.fail_after(5):
            while len(server.asked) < 20:
                with trio.move_on_after(0.01):
                    await read_range(source, b"file", 0, 10, PIN)
            assert await read_range(source, b"file", 0, 10, PIN) == BODY[:10]


# -- preconditions and learning ---------------------------------------------------


async def test_412_is_stale_and_tells_the_new_version() -> None:
    async with origin(Honest(BODY, etag='"new"')) as server, opened(server.url, connect=False) as source:
        with pytest.raises(Stale) as stale:
            await read_range(source, b"file", 0, 10, PIN)
        assert stale.value.stat is not None
        assert stale.value.stat.version == Version(b"file", Level.STRONG, '"new"', len(BODY))


async def test_412_to_the_origins_own_tag_is_asked_again_without_it() -> None:
    def answer(asked: Asked) -> bytes:
        return reply(412) if "if-match" in asked.headers else Honest(BODY).answer(asked)

    async with origin(always(answer)) as server, opened(server.url, connect=False) as source:
        assert await read_range(source, b"file", 0, 10, PIN) == BODY[:10]
        before = len(server.asked)
        assert await read_range(source, b"file", 10, 20, PIN) == BODY[10:20]
        assert len(server.asked) == before + 1


async def test_416_inside_the_size_is_stale_where_the_size_shrank_and_bad_where_not() -> None:
    def answer(asked: Asked) -> bytes:
        return reply(416) if asked.method == "GET" else Honest(now).answer(asked)

    now = BODY[:500]
    async with origin(always(answer)) as server, opened(server.url, connect=False) as source:
        with pytest.raises(Stale):
            await read_range(source, b"file", 600, 700, PIN)
        now = BODY
        with pytest.raises(BadAnswer):
            await read_range(source, b"file", 600, 700, PIN)


@pytest.mark.parametrize("status", [403, 405, 501])
async def test_where_head_is_refused_one_byte_tells(status: int) -> None:
    def answer(asked: Asked) -> bytes:
        return reply(status) if asked.method == "HEAD" else Honest(BODY).answer(asked)

    async with origin(always(answer)) as server, opened(server.url, connect=False) as source:
        assert (await source.stat(b"file")).version == PIN


async def test_where_one_byte_is_refused_too_a_plain_gets_headers_tell() -> None:
    def answer(asked: Asked) -> bytes:
        if asked.method == "HEAD":
            return reply(405)
        return reply(416, {"Content-Range": "bytes */0"}) if asked.range else reply(200, {"ETag": '"e"'})

    async with origin(always(answer)) as server, opened(server.url, connect=False) as source:
        assert (await source.stat(b"file")).version == Version(b"file", Level.STRONG, '"e"', 0)


async def test_a_head_without_a_size_is_completed_by_one_byte() -> None:
    def answer(asked: Asked) -> bytes:
        if asked.method == "HEAD":
            return reply(200, {"ETag": '"x"', "Transfer-Encoding": "chunked"})
        return Honest(BODY).answer(asked)

    async with origin(always(answer)) as server, opened(server.url, connect=False) as source:
        assert (await source.stat(b"file")).version == PIN


@pytest.mark.parametrize(
    ("key", "target"),
    [
        (b"a/../x", "/a/../x"),
        (b"./x", "/./x"),
        (b"%7Euser/%2e%2E/%2f", "/%7Euser/%2e%2E/%2f"),
        (b"two words", "/two%20words"),
        (b"\xff\n#", "/%FF%0A%23"),
        (b"/x", "//x"),
        (b"a%20b+c&d;e=f'(g)[h]{i}|\\^`<>\"", "/a%20b+c&d;e=f'(g)[h]{i}|\\^`<>\""),
    ],
)
async def test_the_request_line_has_the_key_byte_for_byte(key: bytes, target: str) -> None:
    async with origin(Honest(BODY)) as server, opened(server.url, connect=False) as source:
        await read_whole(source, key)
        await source.stat(key)
        assert [asked.target for asked in server.asked] == [target, target]


async def test_identity_is_asked_for_and_nothing_is_decoded() -> None:
    gzipped = b"\x1f\x8b" + BODY

    def answer(asked: Asked) -> bytes:
        return reply(200, {"ETag": '"g"', "Content-Encoding": "gzip"}, gzipped)

    async with origin(always(answer)) as server, opened(server.url, connect=False) as source:
        stat = await source.stat(b"file")
        assert stat.version.encoding == "gzip"
        assert await read_whole(source, b"file", stat.version) == gzipped
        assert {asked.headers["accept-encoding"] for asked in server.asked} == {"identity"}


async def test_a_page_without_an_end_is_no_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rangefs.sources.web.PAGE_LIMIT_BYTES", 100_000)

    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(200, {"Content-Type": "text/html"}, length=False))
        while True:
            await wire.send(b"<a href='x'>x</a>" * 1000)

    async with origin(script) as server, opened(server.url, connect=False) as source:
        with pytest.raises(RangefsError, match="MiB"):
            await source.list(b"")


async def test_a_single_file_keeps_its_query_and_shows_its_plain_name() -> None:
    async with origin(Honest(BODY)) as server, opened(server.url + "two%20words?sig=s3cret&v=1") as source:
        (entry,) = (await source.list(b"")).entries
        assert (entry.name, entry.key) == (b"two words", b"two%20words?sig=s3cret&v=1")
        assert await read_range(source, entry.key, 0, 10, None) == BODY[:10]
        assert {asked.target for asked in server.asked} == {"/two%20words?sig=s3cret&v=1"}
        for shown in (source.url(entry.key), source.identity, repr(source)):
            assert "s3cret" not in shown


async def test_errors_are_one_line_and_name_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    async with origin(always(reply(403))) as server:
        with pytest.raises(Denied) as denied:
            async with opened(server.url + "file?X-Amz-Signature=hunter2"):
                pass
    assert "hunter2" not in str(denied.value)
    assert "\n" not in str(denied.value)

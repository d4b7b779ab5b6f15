"""Redirects and credentials: followed by hand, remembered, and never with another origin's secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import BadAnswer, Denied, NotAListing, TooManyRedirects, UsageError
from rangefs.sources.credentials import LOOK_AGAIN_S, Credentials
from rangefs.sources.urls import parse_url
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Asked, Honest, Wire, origin, reply

BODY = bytes(1000)
PIN = Version(b"file", Level.STRONG, '"x"', len(BODY))


def secret_file(folder: Path, text: str, name: str = "secret") -> Path:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return path


class Redirector:
    """Sends everyone elsewhere; `target` may be changed."""

    def __init__(self, target: str, status: int = 302) -> None:
        self.target = target
        self.status = status

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(self.status, {"Location": self.target}, b"moved"))
        return True


async def test_foreign_origins_get_the_range_but_no_header_of_the_user(tmp_path: Path) -> None:
    settings = UpstreamSettings(
        headers=(("X-Custom", "mine"),),
        header_file=secret_file(tmp_path, "X-Api-Key: hunter2\nAuthorization: Bearer hunter3\nCookie: a=b\n"),
    )
    async with origin(Honest(BODY)) as cdn, origin(Redirector(cdn.url + "signed?sig=1")) as home:
        async with opened(home.url, settings, connect=False) as source:
            assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
        (first,), (second,) = home.asked, cdn.asked
    assert {"x-custom", "x-api-key", "authorization", "cookie"} <= first.headers.keys()
    assert not {"x-custom", "x-api-key", "authorization", "cookie"} & second.headers.keys()
    assert second.target == "/signed?sig=1"
    assert second.headers["host"] == f"127.0.0.1:{cdn.port}"
    for asked in (first, second):
        assert (asked.headers["range"], asked.headers["if-match"]) == ("bytes=0-99", '"x"')


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_target_is_asked_again_without_the_detour(status: int) -> None:
    async with origin(Honest(BODY)) as cdn, origin(Redirector(cdn.url + "there", status)) as home:
        async with opened(home.url, connect=False) as source:
            for start in range(0, 500, 100):
                assert await read_range(source, b"file", start, start + 100, PIN) == BODY[:100]
        assert len(home.asked) == 1
        assert len(cdn.asked) == 5


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
async def test_an_expired_target_is_resolved_once_more(status: int) -> None:
    async def expiring(asked: Asked, wire: Wire) -> bool:
        answer = reply(status) if asked.target == "/old" else Honest(BODY).answer(asked)
        await wire.send(answer)
        return True

    async with origin(Honest(BODY)) as cdn, origin(expiring) as later:
        home_script = Redirector(later.url + "new")
        async with origin(home_script) as home, opened(home.url, connect=False) as source:
            await read_range(source, b"file", 0, 100, PIN)
            home_script.target = cdn.url
            later_asked = len(later.asked)
            await read_range(source, b"file", 0, 100, PIN)
            assert len(home.asked) == 1
            assert len(later.asked) == later_asked + 1
            # now the target that is remembered begins to refuse
            expired = source._exchange._redirects  # type: ignore[attr-defined]
            expired.remember(parse_url(home.url + "file"), parse_url(later.url + "old"), float("inf"))
            assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]
            assert len(home.asked) == 2


async def test_a_target_that_refuses_for_good_is_denied_after_one_more_look() -> None:
    async def refusing(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(403))
        return True

    async with origin(refusing) as cdn, origin(Redirector(cdn.url)) as home, opened(home.url, connect=False) as source:
        for _ in range(2):
            with pytest.raises(Denied):
                await read_range(source, b"file", 0, 100, PIN)
        assert len(home.asked) <= 3
        assert len(cdn.asked) <= 4


async def test_loops_end_after_five_hops() -> None:
    script = Redirector("/again")
    async with origin(script) as home, opened(home.url, connect=False) as source:
        with pytest.raises(TooManyRedirects):
            await read_range(source, b"file", 0, 100, PIN)
        assert len(home.asked) == 6


async def test_a_redirect_without_a_location_is_a_bad_answer() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(302))
        return True

    async with origin(script) as home, opened(home.url, connect=False) as source:
        with pytest.raises(BadAnswer):
            await read_range(source, b"file", 0, 100)


async def test_a_folder_that_redirects_away_is_no_listing_of_ours() -> None:
    async with (
        origin(Honest(b"<html></html>")) as other,
        origin(Redirector(other.url + "sub/")) as home,
        opened(home.url, connect=False) as source,
    ):
        with pytest.raises(NotAListing):
            await source.list(b"sub/")


# -- credentials ----------------------------------------------------------------


def credentials(url: str = "https://host/", **settings: object) -> Credentials:
    return Credentials(UpstreamSettings(**settings), parse_url(url).origin)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url", ["http://host/", "https://other/", "https://host:8443/", "https://host.evil/", "https://sub.host/"]
)
async def test_only_the_exact_origin_gets_them(url: str) -> None:
    ours = credentials(headers=(("X-Custom", "mine"),))
    assert await ours.headers_for("GET", parse_url("https://host/x"), {}) == [("x-custom", "mine")]
    assert await ours.headers_for("GET", parse_url(url), {}) == []


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Auth-Token", "X-Api-Key", "Proxy-Authorization"])
def test_secrets_are_refused_on_the_command_line(name: str) -> None:
    with pytest.raises(UsageError, match="header-file") as error:
        credentials(headers=((name, "hunter2"),))
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("name", ["Host", "Range", "If-Match", "Accept-Encoding", "Connection", "Content-Length"])
def test_headers_that_are_ours_cannot_be_set(name: str) -> None:
    with pytest.raises(UsageError):
        credentials(headers=((name, "x"),))


def test_headers_cannot_smuggle_lines() -> None:
    for pair in (("X", "a\r\nHost: evil"), ("X\r\nY", "a"), ("X Y", "a"), ("", "a"), ("X", "ü")):
        with pytest.raises(UsageError):
            credentials(headers=(pair,))


def test_files_that_others_may_read_are_refused(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "hunter2")
    for mode in (0o640, 0o604, 0o644):
        path.chmod(mode)
        with pytest.raises(UsageError, match="chmod 600"):
            credentials(bearer_token_file=path)


def test_secrets_cross_no_plain_connection_unless_told_to(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "hunter2")
    with pytest.raises(UsageError, match="insecure-auth"):
        credentials("http://host/", bearer_token_file=path)
    for url, insecure in (("http://host/", True), ("http://127.0.0.1:1/", False), ("http://localhost/", False)):
        credentials(url, bearer_token_file=path, insecure_auth=insecure)


async def test_netrc_is_asked_for_the_mounts_host(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "machine host login me password hunter2\nmachine other login you password x\n")
    ours = credentials(netrc=path)
    assert await ours.headers_for("GET", parse_url("https://host/"), {}) == [
        ("authorization", "Basic bWU6aHVudGVyMg==")
    ]
    path.write_text("bogus hunter2\n")
    with pytest.raises(UsageError) as error:
        credentials(netrc=path)
    assert "hunter2" not in str(error.value)


async def test_a_token_file_is_read_again_when_it_changed(tmp_path: Path, autojump_clock: object) -> None:
    import trio

    path = secret_file(tmp_path, "one\n")
    ours, here = credentials(bearer_token_file=path), parse_url("https://host/")
    assert await ours.headers_for("GET", here, {}) == [("authorization", "Bearer one")]
    new = secret_file(tmp_path, "two\n", "new")
    new.rename(path)
    await trio.sleep(LOOK_AGAIN_S)
    assert await ours.headers_for("GET", here, {}) == [("authorization", "Bearer two")]
    path.unlink()
    await trio.sleep(LOOK_AGAIN_S)
    assert await ours.headers_for("GET", here, {}) == [("authorization", "Bearer two")]


async def test_a_401_is_asked_again_with_a_token_that_came_meanwhile(tmp_path: Path) -> None:
    path = secret_file(tmp_path, "old")

    async def script(asked: Asked, wire: Wire) -> bool:
        if asked.headers["authorization"] == "Bearer old":
            secret_file(tmp_path, "new", "next").rename(path)
            await wire.send(reply(401))
        else:
            await wire.send(Honest(BODY).answer(asked))
        return True

    settings = UpstreamSettings(bearer_token_file=path)
    async with origin(script) as home, opened(home.url, settings, connect=False) as source:
        assert await read_range(source, b"file", 0, 100, PIN) == BODY[:100]


def test_identity_tells_who_without_the_secret(tmp_path: Path) -> None:
    one = credentials(header_file=secret_file(tmp_path, "Authorization: Bearer hunter2")).identity
    two = credentials(header_file=secret_file(tmp_path, "Authorization: Bearer hunter3")).identity
    assert one != two != ""
    assert credentials().identity == credentials(headers=(("X-Custom", "mine"),)).identity == ""
    assert "hunter2" not in one

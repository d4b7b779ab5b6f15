"""S3 where real servers can't be made to misbehave: expired keys, wrong regions and clocks, listings without end."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from pathlib import Path
from urllib.parse import parse_qs, unquote

import pytest
import trio

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level
from rangefs.errors import (
    BadAnswer,
    Denied,
    NotAListing,
    NotFound,
    RangefsError,
    Stale,
    TooLarge,
    Unreachable,
    UsageError,
)
from rangefs.sources import aws, buckets, s3
from rangefs.sources.base import Source
from rangefs.sources.registry import open_source
from tests.sources.reading import opened, read_range, read_whole
from tests.sources.scripted import Asked, Honest, Origin, Wire, origin, reply

BODY = bytes(range(256)) * 40
SECRET = "planted-secret"
TOKEN = "planted-session-token"


@pytest.fixture(autouse=True)
def only_these_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests, and a pair of keys in the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDONE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rangefs.sources.exchange.random.random", lambda: 0.0)


def error(status: int, code: str, message: str = "As the store says", more: str = "", **headers: str) -> bytes:
    xml = (
        f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message>{more}"
        "<RequestId>REQ42</RequestId></Error>"
    )
    return reply(status, {"Content-Type": "application/xml", **headers}, xml.encode())


def page(*keys: str, prefixes: tuple[str, ...] = (), token: str = "", size: int = len(BODY)) -> bytes:
    contents = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;x&quot;</ETag><Size>{size}</Size></Contents>"
        for key in keys
    )
    folders = "".join(f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>" for prefix in prefixes)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    xml = f"<ListBucketResult><EncodingType>url</EncodingType>{contents}{folders}{more}</ListBucketResult>"
    return reply(200, {"Content-Type": "application/xml"}, xml.encode())


def is_listing(asked: Asked) -> bool:
    return "list-type=2" in asked.target


def answer(asked: Asked) -> bytes:
    """A bucket that has one object, under any name."""
    return page("file") if is_listing(asked) else Honest(BODY).answer(asked)


def scripted(of: Callable[[Asked], bytes]) -> Callable[[Asked, Wire], Awaitable[bool]]:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(of(asked))
        return True

    return script


def settings(server: Origin, **more: object) -> UpstreamSettings:
    return UpstreamSettings(endpoint_url=server.url, **more)  # type: ignore[arg-type]


def scope(asked: Asked) -> list[str]:
    """Key id, day, region, service and end of a signature's credential."""
    found = re.search(r"Credential=([^,]*)", asked.headers.get("authorization", ""))
    return found[1].split("/") if found else []


def at(source_spec: str, **more: object) -> Source:
    return open_source(source_spec, UpstreamSettings(**more), UpstreamFigures())  # type: ignore[arg-type]


# -- where things are ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "more", "url"),
    [
        ("s3://bucket/pre/", {}, "https://bucket.s3.us-east-1.amazonaws.com/pre/a/../b%20%2B"),
        ("s3://bucket/pre/", {"region": "eu-west-3"}, "https://bucket.s3.eu-west-3.amazonaws.com/pre/a/../b%20%2B"),
        ("s3://my.bucket", {}, "https://s3.us-east-1.amazonaws.com/my.bucket/a/../b%20%2B"),
        ("s3://bucket", {"region": "cn-north-1"}, "https://bucket.s3.cn-north-1.amazonaws.com.cn/a/../b%20%2B"),
        ("s3://bucket", {"endpoint_url": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000/bucket/a/../b%20%2B"),
        ("s3://bucket", {"endpoint_url": "https://h/s3/"}, "https://h/s3/bucket/a/../b%20%2B"),
        ("s3://bucket/100%#?/", {}, "https://bucket.s3.us-east-1.amazonaws.com/100%25%23%3F/a/../b%20%2B"),
    ],
)
def test_buckets_are_hosts_at_aws_and_paths_elsewhere(spec: str, more: dict[str, object], url: str) -> None:
    source = at(spec, **more)
    assert isinstance(source, s3.S3Source)
    assert str(source._at(b"a/../b +")) == url


@pytest.mark.parametrize("spec", ["s3://", "s3:///key", "s3://b/x", "s3://-bad-/x", "s3://user:secret@bucket/x"])
def test_a_spec_without_a_bucket_is_refused(spec: str) -> None:
    with pytest.raises(UsageError) as refused:
        at(spec)
    assert "secret" not in str(refused.value)


async def test_the_endpoint_and_region_of_the_configuration_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[profile mine]\nregion = eu-north-1\nendpoint_url = http://127.0.0.1:1/x\n")
    assert "eu-north-1" in repr(at("s3://bucket", profile="mine", endpoint_url=None)._bearer.region)  # type: ignore[attr-defined]
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:2")
    assert str(at("s3://bucket", profile="mine")._at(b"k")) == "http://127.0.0.1:2/bucket/k"  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="other"):
        at("s3://bucket", profile="other")


# -- who we are ------------------------------------------------------------------------


async def test_the_target_on_the_wire_is_the_one_that_was_signed() -> None:
    async with origin(scripted(answer)) as server, opened("s3://bucket", settings(server)) as source:
        await read_range(source, "a/../x//./ü~'()!*".encode(), 0, 10)
        asked = server.asked[-1]
        assert asked.target == "/bucket/a/../x//./%C3%BC~%27%28%29%21%2A"
        assert scope(asked)[0] == "AKIDONE"
        assert scope(asked)[2:] == ["us-east-1", "s3", "aws4_request"]
        assert "range" in asked.headers["authorization"]


async def test_anonymous_signs_nothing_and_requester_pays_is_signed() -> None:
    async with origin(scripted(answer)) as server:
        async with opened("s3://bucket", settings(server, anonymous=True)):
            assert "authorization" not in server.asked[-1].headers
        async with opened("s3://bucket", settings(server, requester_pays=True)):
            assert server.asked[-1].headers["x-amz-request-payer"] == "requester"
            assert "x-amz-request-payer" in server.asked[-1].headers["authorization"]


async def test_no_credentials_at_all_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    async with origin(scripted(answer)) as server:
        with pytest.raises(Denied, match="--anonymous"):
            async with opened("s3://bucket", settings(server)):
                pass
        assert server.asked == []


async def test_a_bearer_token_goes_in_place_of_a_signature(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("tok")
    (tmp_path / "token").chmod(0o600)
    async with (
        origin(scripted(answer)) as server,
        opened("s3://bucket", settings(server, bearer_token_file=tmp_path / "token")),
    ):
        assert server.asked[-1].headers["authorization"] == "Bearer tok"


def process_profile(folder: Path, lifetime_s: int) -> Path:
    """A profile whose keys come from a program that counts how often it ran; returns the file it counts in."""
    script, count = folder / "keys.py", folder / "count"
    count.write_text("")
    script.write_text(
        f"""
import json, time, pathlib
count = pathlib.Path({str(count)!r})
count.write_text(count.read_text() + "x")
number = len(count.read_text())
until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + {lifetime_s}))
print(json.dumps({{"Version": 1, "AccessKeyId": f"AKID{{number}}", "SecretAccessKey": {SECRET!r},
                   "SessionToken": {TOKEN!r} + str(number), "Expiration": until}}))
"""
    )
    (folder / "config").write_text(f"[profile p]\ncredential_process = {sys.executable} {script}\n")
    return count


async def test_keys_expire_in_mid_read_without_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "ASK_AGAIN_S", 0.0)
    process_profile(tmp_path, 3600)
    expired = set[str]()

    def of(asked: Asked) -> bytes:
        if scope(asked)[0] in expired:
            return error(400, "ExpiredToken") if asked.method == "GET" else reply(400)
        return answer(asked)

    async with origin(scripted(of)) as server, opened("s3://bucket", settings(server, profile="p")) as source:
        pin = (await source.stat(b"file")).version
        assert await read_range(source, b"file", 0, 100, pin) == BODY[:100]
        expired.add("AKID1")
        assert await read_range(source, b"file", 100, 200, pin) == BODY[100:200]
        assert server.asked[-1].headers["x-amz-security-token"] == f"{TOKEN}2"
        expired.add("AKID2")
        assert (await source.stat(b"file")).version == pin, "HEAD has no words: a GET of one byte tells what is wrong"
        assert len(await read_whole(source, b"file", pin)) == len(BODY)


async def test_many_readers_renew_once(tmp_path: Path) -> None:
    count = process_profile(tmp_path, 3600)

    def of(asked: Asked) -> bytes:
        return error(400, "ExpiredToken") if scope(asked)[0] == "AKID1" and not is_listing(asked) else answer(asked)

    async with origin(scripted(of)) as server, opened("s3://bucket", settings(server, profile="p")) as source:
        source._bearer._chain._asked_at = float("-inf")  # type: ignore[attr-defined]  # long ago
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(read_range, source, b"file", number, number + 1)
    assert len(count.read_text()) == 2


async def test_keys_are_renewed_before_they_expire_once_for_all(tmp_path: Path) -> None:
    count = process_profile(tmp_path, 1800)
    async with origin(scripted(answer)) as server, opened("s3://bucket", settings(server, profile="p")) as source:
        chain = source._bearer._chain  # type: ignore[attr-defined]
        chain._found._advisory_refresh_timeout = 3600  # so it is time; botocore's own is 15 minutes
        chain._asked_at = float("-inf")  # long ago
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(read_range, source, b"file", number, number + 1)
        assert {scope(asked)[0] for asked in server.asked[1:]} == {"AKID2"}
    assert len(count.read_text()) == 2


async def test_keys_that_stay_bad_are_an_error_in_the_stores_words_without_secrets(tmp_path: Path) -> None:
    process_profile(tmp_path, 3600)

    def of(asked: Asked) -> bytes:
        return error(400, "ExpiredToken", "The provided token has expired.")

    async with origin(scripted(of)) as server:
        with pytest.raises(BadAnswer, match=r'ExpiredToken "The provided token has expired." \(request REQ42\)') as bad:
            async with opened("s3://bucket", settings(server, profile="p")):
                pass
        assert len(server.asked) < 6
    assert SECRET not in str(bad.value)
    assert TOKEN not in str(bad.value)


async def test_keys_come_from_the_machines_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 6 * 3600))

    def of(asked: Asked) -> bytes:
        if asked.target == "/latest/api/token":
            return reply(200, {}, b"imds-token")
        if asked.target.endswith("/security-credentials/"):
            return reply(200, {}, b"role")
        if asked.target.endswith("/role"):
            given = {"Code": "Success", "AccessKeyId": "AKIDIMDS", "SecretAccessKey": SECRET, "Token": TOKEN}
            return reply(200, {}, json.dumps(given | {"Expiration": until}).encode())
        return answer(asked)

    async with origin(scripted(of)) as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        async with opened("s3://bucket", settings(server)):
            assert scope(server.asked[-1])[0] == "AKIDIMDS"


async def test_a_clock_that_is_wrong_is_corrected_by_the_stores() -> None:
    ahead_s = 7200

    def of(asked: Asked) -> bytes:
        now = time.time() + ahead_s
        if time.strftime("%Y%m%dT%H", time.gmtime(now)) != asked.headers["x-amz-date"][:11]:
            return error(403, "RequestTimeTooSkewed", Date=formatdate(now, usegmt=True))
        return answer(asked)

    async with origin(scripted(of)) as server, opened("s3://bucket", settings(server)) as source:
        assert len(server.asked) == 2
        assert await read_range(source, b"file", 0, 10) == BODY[:10]
        assert len(server.asked) == 3


# -- regions -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["words", "header"])
async def test_a_wrong_region_is_found_out_and_signed_anew(how: str) -> None:
    def of(asked: Asked) -> bytes:
        if scope(asked)[2] == "eu-west-3":
            return answer(asked)
        if how == "words":
            return error(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-3</Region>")
        return reply(400, {"x-amz-bucket-region": "eu-west-3"})

    async with origin(scripted(of)) as server, opened("s3://bucket", settings(server)) as source:
        assert [scope(asked)[2] for asked in server.asked] == ["us-east-1", "eu-west-3"]
        await source.stat(b"file")
        assert len(server.asked) == 3


async def test_a_bucket_that_has_moved_is_asked_for_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(asked: Asked) -> bytes:
        return error(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-west-3"})

    async with origin(scripted(elsewhere)) as there, origin(scripted(answer)) as here:
        sources = {region: at("s3://bucket", endpoint_url=url) for region, url in
                   (("us-east-1", there.url), ("eu-west-3", here.url))}  # fmt: skip
        homes = {region: source._bucket_at(region) for region, source in sources.items()}  # type: ignore[attr-defined]
        monkeypatch.setattr(s3.S3Source, "_bucket_at", lambda self, region: homes[region])
        monkeypatch.setattr(s3.S3Source, "_is_ours", lambda self, origin: True)
        async with opened("s3://bucket", settings(there)) as source:
            assert await read_range(source, b"file", 0, 10) == BODY[:10]
            assert len(there.asked) == 1
            assert [scope(asked)[2] for asked in here.asked] == ["eu-west-3"] * 2


# -- versions ----------------------------------------------------------------------------


def versioned(current: dict[str, str]) -> Callable[[Asked], bytes]:
    """A bucket that keeps versions, and tells them; ``current["id"]`` is the newest."""

    def of(asked: Asked) -> bytes:
        if is_listing(asked):
            return page("file")
        wanted = parse_qs(asked.target.partition("?")[2]).get("versionId", [current["id"]])[0]
        if wanted != current["id"] and current.get("denied"):
            return error(403, "AccessDenied")
        if "versionId" in asked.target and current.get("denied"):
            return error(403, "AccessDenied")
        told = Honest(BODY.replace(b"\0", wanted[:1].encode()), etag=f'"{wanted}"').answer(asked)
        return told.replace(b"\r\n", f"\r\nx-amz-version-id: {wanted}\r\n".encode(), 1)

    return of


async def test_a_version_id_pins_in_the_request_and_outlives_an_overwrite() -> None:
    current = {"id": "1a+/="}
    async with origin(scripted(versioned(current))) as server, opened("s3://bucket", settings(server)) as source:
        pin = (await source.stat(b"file")).version
        assert (pin.level, pin.validator) == (Level.IMMUTABLE, '"1a+/="@1a+/=')
        current["id"] = "2b"
        assert (await read_range(source, b"file", 0, 2, pin)) == b"1\1"
        assert server.asked[-1].target == "/bucket/file?versionId=1a%2B%2F%3D"
        assert "if-match" not in server.asked[-1].headers
        assert (await source.stat(b"file")).version != pin


async def test_where_version_ids_may_not_be_read_they_are_compared() -> None:
    current = {"id": "1", "denied": "yes"}
    async with origin(scripted(versioned(current))) as server, opened("s3://bucket", settings(server)) as source:
        pin = (await source.stat(b"file")).version
        assert await read_range(source, b"file", 0, 2, pin) == b"1\1"
        asked = len(server.asked)
        assert await read_range(source, b"file", 0, 2, pin) == b"1\1"
        assert len(server.asked) == asked + 1, "denied once, never tried again"
        current["id"] = "2"
        with pytest.raises(Stale) as stale:
            await read_range(source, b"file", 0, 2, pin)
        assert stale.value.stat is not None
        assert stale.value.stat.version.validator == '"2"@2'


async def test_a_suspended_versions_null_is_no_version_id() -> None:
    def of(asked: Asked) -> bytes:
        return answer(asked).replace(b"\r\n", b"\r\nx-amz-version-id: null\r\n", 1)

    async with origin(scripted(of)) as server, opened("s3://bucket", settings(server)) as source:
        assert (await source.stat(b"file")).version.level is Level.STRONG


async def test_an_object_just_written_is_not_young() -> None:
    def of(asked: Asked) -> bytes:
        now = formatdate(usegmt=True)
        return answer(asked).replace(b"\r\n", f"\r\nDate: {now}\r\nLast-Modified: {now}\r\n".encode(), 1)

    async with origin(scripted(of)) as server, opened("s3://bucket", settings(server)) as source:
        assert (await source.stat(b"file")).version.level is Level.STRONG


# -- listings ----------------------------------------------------------------------------


async def test_pages_follow_each_other_by_token_verbatim() -> None:
    tokens = {"": "a+/=%2F&", "a+/=%2F&": "second", "second": ""}

    def of(asked: Asked) -> bytes:
        token = unquote(dict(field.split("=", 1) for field in asked.target.split("?")[1].split("&")).get(
            "continuation-token", ""))  # fmt: skip
        number = list(tokens).index(token)
        names = tuple(f"pre/{number}-{index}" for index in range(3)) if number != 1 else ()
        return page(*names, prefixes=(f"pre/folder{number}/",), token=tokens[token].replace("&", "&amp;"))

    async with origin(scripted(of)) as server, opened("s3://bucket/pre/", settings(server)) as source:
        listing = await source.list(b"")
        assert len(listing.entries) == 9
        assert {entry.key for entry in listing.entries} >= {b"0-0", b"2-2", b"folder1/"}


async def test_a_listing_that_was_cut_off_goes_on_where_it_was() -> None:
    asked_for = list[str]()
    patience = trio.CancelScope()

    async def script(asked: Asked, wire: Wire) -> bool:
        token = parse_qs(asked.target.partition("?")[2]).get("continuation-token", ["0"])[0]
        asked_for.append(token)
        if asked_for == ["0", "1", "2"]:
            patience.cancel()
            await trio.sleep_forever()
        await wire.send(page(f"{token}", token="" if token == "4" else str(int(token) + 1)))
        return True

    async with (
        origin(script) as server,
        opened("s3://bucket/", settings(server), connect=False) as source,
    ):
        with patience:
            await source.list(b"")
        assert {entry.name for entry in (await source.list(b"")).entries} == {b"0", b"1", b"2", b"3", b"4"}
        assert asked_for == ["0", "1", "2", "2", "3", "4"]
        await source.list(b"")
        assert asked_for[6:] == ["0", "1", "2", "3", "4"], "one that was finished begins anew"


@pytest.mark.parametrize("tokens", [["same"] * 9, ["a", "b", "a", "b", "a", "b"]])
async def test_a_token_that_comes_twice_ends_the_listing_with_an_error(tokens: list[str]) -> None:
    left = iter(["", *tokens])  # the first page is for `connect`

    async with (
        origin(scripted(lambda asked: page(token=next(left)))) as server,
        opened("s3://bucket/", settings(server)) as source,
    ):
        with pytest.raises(BadAnswer, match="no end"):
            await source.list(b"")


async def test_empty_pages_without_end_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_EMPTY_PAGES", 20)
    async with (
        origin(scripted(lambda asked: page(token=str(time.monotonic_ns())))) as server,
        opened("s3://bucket/", settings(server), connect=False) as source,
    ):
        with pytest.raises(BadAnswer, match="no end"):
            await source.connect()
        with pytest.raises(BadAnswer, match="no end"):
            await source.list(b"")


async def test_a_folder_of_too_many_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "MAX_ENTRIES", 5)
    async with (
        origin(scripted(lambda asked: page("a", "b", "c", token=str(time.monotonic_ns())))) as server,
        opened("s3://bucket/", settings(server)) as source,
    ):
        with pytest.raises(TooLarge):
            await source.list(b"")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Welcome</body></html>",
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]><ListBucketResult/>",
        b"<ListBucketResult><Contents>",
    ],
)
async def test_what_is_no_listing_is_never_an_empty_folder(body: bytes) -> None:
    async with (
        origin(scripted(lambda asked: reply(200, {"Content-Type": "application/xml"}, body))) as server,
        opened("s3://bucket/", settings(server), connect=False) as source,
    ):
        with pytest.raises(NotAListing):
            await source.list(b"")


async def test_a_page_of_a_listing_that_breaks_off_is_unreachable() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(page("a", "b")[:-40])
        return False

    async with origin(script) as server, opened("s3://bucket/", settings(server), connect=False) as source:
        with pytest.raises(Unreachable):
            await source.list(b"")


# -- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "kind", "words"),
    [
        (error(403, "AccessDenied"), Denied, "AccessDenied"),
        (error(403, "InvalidObjectState", "Restore it first"), Denied, "Restore it first"),
        (error(404, "NoSuchKey"), NotFound, "NoSuchKey"),
        (error(404, "NoSuchBucket"), NotFound, "NoSuchBucket"),
        (error(400, "InvalidRequest"), BadAnswer, "InvalidRequest"),
        (error(503, "SlowDown"), Unreachable, "SlowDown"),
        (error(400, "RequestTimeout"), Unreachable, "RequestTimeout"),
        (error(500, "InternalError"), Unreachable, "InternalError"),
    ],
)
async def test_errors_are_in_the_stores_own_words(told: bytes, kind: type[RangefsError], words: str) -> None:
    async with (
        origin(scripted(lambda asked: told)) as server,
        opened("s3://bucket/", settings(server), connect=False) as source,
    ):
        for ask in (lambda: source.list(b""), lambda: read_range(source, b"k", 0, 1)):
            with pytest.raises(kind) as raised:
                await ask()
            assert words in str(raised.value)
            assert "REQ42" in str(raised.value)
            assert "\n" not in str(raised.value)
            assert SECRET not in str(raised.value)


async def test_a_forbidden_head_is_explained_by_a_get() -> None:
    def of(asked: Asked) -> bytes:
        return reply(403) if asked.method == "HEAD" else error(403, "AccessDenied")

    async with origin(scripted(of)) as server, opened("s3://bucket/", settings(server), connect=False) as source:
        with pytest.raises(Denied, match="AccessDenied"):
            await source.stat(b"k")
    async with (
        origin(scripted(of)) as server,
        opened("s3://bucket/", settings(server, forbidden_as_missing=True), connect=False) as source,
    ):
        with pytest.raises(NotFound):
            await source.stat(b"k")


async def test_a_prefix_with_nothing_below_it_is_not_found_unless_it_ends_with_a_slash() -> None:
    def of(asked: Asked) -> bytes:
        return page() if is_listing(asked) else error(404, "NoSuchKey")

    async with origin(scripted(of)) as server:
        with pytest.raises(NotFound, match="slash"):
            async with opened("s3://bucket/nothing", settings(server)):
                pass
        async with opened("s3://bucket/nothing/", settings(server)) as source:
            assert (await source.list(b"")).entries == ()


def test_reprs_and_identities_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    source = at("s3://bucket/pre/")
    for text in (repr(source), source.identity, repr(source._bearer), repr(vars(source._bearer)["_chain"])):  # type: ignore[attr-defined]
        assert SECRET not in text
        assert TOKEN not in text
    assert source.identity != at("s3://bucket/pre/", anonymous=True).identity
    assert source.identity != at("s3://bucket/pre/", endpoint_url="http://127.0.0.1:1").identity

"""Catalogs: who is told secrets, which doors are open, when the list is read again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import BadAnswer, Denied, NotFound, RangesIgnored, UsageError
from rangefs.sources import catalog, catalog_list
from rangefs.sources.catalog_credentials import CatalogBearer
from rangefs.sources.redirects import Doors
from rangefs.sources.registry import open_source
from rangefs.sources.urls import Origin, Url
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Asked, Honest, Wire, origin, reply

BODY = bytes(range(256)) * 40


def listed(tmp_path: Path, *rows: dict[str, object]) -> str:
    """The SOURCE of a list with these rows."""
    file = tmp_path / "list.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"catalog+{file.as_uri()}"


@pytest.mark.parametrize(
    ("address", "open_to_a_file"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("fd00::1", True),
        ("169.254.169.254", False),
        ("fe80::1", False),
        ("::ffff:169.254.169.254", False),
        ("93.184.216.34", True),
    ],
)
def test_a_local_list_may_lead_around_here_but_not_to_link_local_addresses(address: str, open_to_a_file: bool) -> None:
    assert Doors("", catalog.AROUND_HERE).may_reach("some.example", address) is open_to_a_file


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1", "0.0.0.0"])
def test_a_list_from_the_internet_leads_to_no_private_address(address: str) -> None:
    doors = Doors("lists.example")
    assert doors.may_reach("lists.example", "93.184.216.34")
    assert not doors.may_reach("some.example", address)


async def test_a_closed_door_is_a_denial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "AROUND_HERE", frozenset[str]())
    async with origin(Honest(BODY)) as server:
        source = listed(tmp_path, {"path": "f", "url": server.url + "f"})
        async with opened(source) as tree:
            with pytest.raises(Denied, match="private address"):
                await read_range(tree, b"f", 0, 100)
        assert server.asked == []


async def test_secrets_go_to_the_catalogs_own_origin_only(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("planted")
    token.chmod(0o600)
    async with origin(Honest(BODY)) as elsewhere:
        rows = [{"path": "mine", "url": "mine"}, {"path": "theirs", "url": elsewhere.url + "theirs"}]
        text = "".join(json.dumps(row) + "\n" for row in rows).encode()

        async def script(asked: Asked, wire: Wire) -> bool:
            await wire.send(reply(200, {}, text) if asked.target == "/list" else Honest(BODY).answer(asked))
            return True

        async with origin(script) as home:
            settings = UpstreamSettings(bearer_token_file=token, headers=(("x-custom", "1"),))
            async with opened(f"catalog+{home.url}list", settings) as tree:
                assert await read_range(tree, b"mine", 0, 10) == BODY[:10]
                assert await read_range(tree, b"theirs", 0, 10) == BODY[:10]
            assert all(asked.headers["authorization"] == "Bearer planted" for asked in home.asked)
            assert all(asked.headers["x-custom"] == "1" for asked in home.asked)
        assert elsewhere.asked
        assert not any({"authorization", "x-custom"} & asked.headers.keys() for asked in elsewhere.asked)


async def test_netrc_speaks_to_the_hosts_that_it_names_and_its_default_to_no_stranger(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password planted\ndefault login any password planted\n")
    netrc.chmod(0o600)
    bearer = CatalogBearer(UpstreamSettings(netrc=netrc), None)
    named, stranger = (Url(Origin("https", host, 443), b"/") for host in ("127.0.0.1", "evil.example"))
    assert [name for name, _ in await bearer.headers_for("GET", named, {})] == ["authorization"]
    assert await bearer.headers_for("GET", stranger, {}) == []


async def test_netrc_is_not_sent_in_the_clear(tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine files.example login me password planted\n")
    netrc.chmod(0o600)
    bearer = CatalogBearer(UpstreamSettings(netrc=netrc), None)
    with pytest.raises(Denied, match="not encrypted") as refused:
        await bearer.headers_for("GET", Url(Origin("http", "files.example", 80), b"/"), {})
    assert "planted" not in str(refused.value)


def test_a_token_for_a_list_on_this_machine_is_a_mistake(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("planted")
    token.chmod(0o600)
    settings = UpstreamSettings(bearer_token_file=token)
    with pytest.raises(UsageError, match="--netrc"):
        open_source(listed(tmp_path), settings, UpstreamFigures())


async def test_a_large_file_with_a_hash_is_read_by_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "VERIFY_BYTES", len(BODY) - 1)
    async with origin(Honest(BODY)) as server:
        source = listed(tmp_path, {"path": "f", "url": server.url + "f", "size": len(BODY), "sha256": "0" * 64})
        async with opened(source) as tree:
            assert await read_range(tree, b"f", 100, 200) == BODY[100:200]


async def test_a_small_file_with_a_hash_is_never_read_in_part(tmp_path: Path) -> None:
    async with origin(Honest(BODY)) as server:
        source = listed(tmp_path, {"path": "f", "url": server.url + "f", "size": len(BODY), "sha256": "0" * 64})
        async with opened(source) as tree:
            with pytest.raises(RangesIgnored):
                await read_range(tree, b"f", 100, 200)
            with pytest.raises(BadAnswer, match="sha256"):
                await read_range(tree, b"f", 0, len(BODY))


async def test_an_unchanged_list_is_not_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_list, "LOOK_AGAIN_S", 0.0)
    monkeypatch.setattr(catalog_list, "REST_FACTOR", 0)
    statuses = []

    async def script(asked: Asked, wire: Wire) -> bool:
        fresh = asked.headers.get("if-none-match") == '"list"'
        statuses.append(304 if fresh else 200)
        text = b'{"path": "f", "url": "f"}\n'
        await wire.send(reply(304, {"ETag": '"list"'}) if fresh else reply(200, {"ETag": '"list"'}, text))
        return True

    async with origin(script) as server, opened(f"catalog+{server.url}list") as tree:
        assert [entry.name for entry in (await tree.list(b"")).entries] == [b"f"]
        with pytest.raises(NotFound):
            await tree.list(b"g/")
    assert statuses == [200, 304, 304]


async def test_readers_who_meet_a_dead_mirror_together_all_find_the_living_one(tmp_path: Path) -> None:
    async def gone(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(404))
        return True

    async with origin(Honest(BODY)) as good, origin(gone) as bad:
        source = listed(tmp_path, {"path": "f", "url": [bad.url + "f", good.url + "f"]})
        async with opened(source) as tree, trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(tree.stat, b"f")

"""S3 as real servers speak it: a name that is looked for by itself is what the folder's listing has for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rangefs.core.entries import Kind
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import InvalidName
from rangefs.sources.base import Finder, Source
from tests.conftest import StartServer
from tests.sources.reading import opened
from tests.stores import BUCKET, Moto, RcloneS3, Store, signed_in

KEYS = (
    *(b"plain", b"plain-er", b"two words", b"a+b", b"100%", b"%%escaped", "ünï".encode(), b"x!", b"x", b"x/y", b"x0"),
    *(b"sub/x", b"sub/x!/z", b"sub/q'#?&\"", b"sub/deep/er"),
)
# What no file system holds, so neither does rclone.
MORE_KEYS = (
    b"a/../x",
    b"./dot",
    b"q//y",
    b"/lead",
    b"marker/",
    b"both",
    b"both/inside",
    b"n" * 700,
    b"n" * 700 + b"/m",
)


@pytest.fixture(params=[Moto, RcloneS3])
def store(
    request: pytest.FixtureRequest, start_server: StartServer, www: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    started = start_server(request.param, www)
    assert isinstance(started, Store)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in signed_in(started).items():
        monkeypatch.setenv(name, value)
    keys = KEYS if isinstance(started, RcloneS3) else (*KEYS, *MORE_KEYS)
    started.put({key: b"content" for key in keys if not (isinstance(started, RcloneS3) and key == b"x")})
    return started


async def test_a_name_found_by_itself_is_the_listings_own_entry(store: Store) -> None:
    async def check(source: Source, folder: bytes) -> int:
        assert isinstance(source, Finder)
        listing = await source.list(folder)
        count = 0
        for entry in listing.entries:
            try:
                assert await source.find(folder, entry.name) == entry
            except InvalidName:
                assert entry.name.startswith((b"%%=", b"%%+=")), "only a hashed name needs the listing"
            count += 1
            if entry.kind is Kind.FOLDER:
                count += await check(source, entry.key)
        for missing in (b"plai", b"x1", b"nothing", b"%%+plain", b"%%a%2Fb", "ün".encode()):
            if missing not in listing.by_name:
                assert await source.find(folder, missing) is None
        return count

    async with opened(f"s3://{BUCKET}", UpstreamSettings(endpoint_url=store.endpoint)) as source:
        assert await check(source, b"") > len(KEYS)

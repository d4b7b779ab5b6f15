"""Servers whose listings show folders as files, as mini_httpd's do: which is which is asked, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rangefs.core.entries import Kind
from rangefs.errors import IsADirectory, NotFound, Unreachable
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Asked, Wire, origin, reply

SAMPLES = Path(__file__).parent.parent / "samples" / "mini_httpd"
FOLDERS = ("emptydir", "sub", "tricky")
SIZES = {b"data.bin": 1_048_593, b"empty.bin": 0, b"text.txt": 112_000}


class MiniHttpd:
    """Its pages, its redirects, and files of one letter.

    page  the root's
    """

    def __init__(self) -> None:
        self.page = (SAMPLES / "root.body").read_bytes()
        self.folders = set(FOLDERS)
        self.status = 200

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        name = asked.target.strip("/")
        if asked.target.endswith("/") and name and name not in self.folders:
            answer = reply(404)
        elif asked.target.endswith("/"):
            body = (SAMPLES / f"{name}.body").read_bytes() if name else self.page
            answer = reply(200, {"Content-Type": "text/html; charset=%s"}, body)
        elif name in self.folders:
            answer = reply(302, {"Location": f"/{name}/"})
        else:
            size = SIZES.get(name.encode(), 5)
            answer = reply(self.status, {"Content-Length": str(size)}, b"" if asked.method == "HEAD" else b"x" * size)
        await wire.send(answer)
        return True


async def test_folders_are_told_from_files_before_a_listing_is_shown() -> None:
    async with origin(MiniHttpd()) as server, opened(server.url) as source:
        listing = await source.list(b"")
        assert not listing.unmarked
        assert {entry.name for entry in listing.entries if entry.kind is Kind.FOLDER} == {
            b"emptydir",
            b"sub",
            b"tricky",
        }
        assert listing.by_name[b"sub"].key == b"sub/"
        assert {name: entry.size for name, entry in listing.by_name.items() if entry.kind is Kind.FILE} == SIZES


async def test_each_name_is_asked_for_once_and_again_only_where_its_row_has_changed() -> None:
    script = MiniHttpd()
    async with origin(script) as server, opened(server.url) as source:
        first = await source.list(b"")
        asked = len(server.asked)
        assert await source.list(b"") == first
        assert len(server.asked) == asked + 1
        script.page = script.page.replace(b"1048593", b"1048594")
        assert (await source.list(b"")).by_name[b"data.bin"].size == 1_048_594
        assert [request.method for request in server.asked[asked + 1 :]] == ["GET", "HEAD"]


async def test_names_beyond_the_most_that_are_asked_for_have_no_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rangefs.sources.kinds.MOST_ASKED", 2)
    async with origin(MiniHttpd()) as server, opened(server.url) as source:
        listing = await source.list(b"")
        assert [entry.size for entry in listing.entries] == [1_048_593, 0, None, None, None, None]
        with pytest.raises(IsADirectory):
            await source.stat(b"sub")
        assert (await source.list(b"")).by_name[b"sub"].kind is Kind.FOLDER


async def test_a_folder_of_any_server_is_known_once_it_was_asked_for_as_a_file() -> None:
    script = MiniHttpd()
    script.page = b'<title>Index of /</title><h1>Index of /</h1><a href="..">..</a><a href="sub">sub</a>'
    async with origin(script) as server, opened(server.url) as source:
        assert (await source.list(b"")).by_name[b"sub"].kind is Kind.FILE
        assert [request.method for request in server.asked] == ["GET", "GET"], "no request a name"
        with pytest.raises(IsADirectory):
            await read_range(source, b"sub", 0, 10)
        assert (await source.list(b"")).by_name[b"sub"].kind is Kind.FOLDER
        script.folders.clear()  # a file by now
        with pytest.raises(NotFound):
            await source.list(b"sub/")
        assert (await source.list(b"")).by_name[b"sub"].kind is Kind.FILE


async def test_a_name_that_cannot_be_asked_for_fails_the_listing_but_a_refused_one_is_a_file(no_pauses: None) -> None:
    script = MiniHttpd()
    script.status = 403
    async with origin(script) as server, opened(server.url) as source:
        assert (await source.list(b"")).by_name[b"text.txt"].size == 112_000
    script.status = 503
    async with origin(script) as server, opened(server.url) as source:
        with pytest.raises(Unreachable):
            await source.list(b"")

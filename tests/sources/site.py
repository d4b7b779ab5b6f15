"""A small tree on a scripted origin that a test can stop, silence, break or change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

from tests.sources.scripted import Asked, Origin, Wire, origin, reply

OLD = "Mon, 02 Jan 2017 03:04:05 GMT"


@dataclass(slots=True)
class File:
    """etag: with its quotes, "" for none; modified: None for no Last-Modified."""

    body: bytes
    etag: str = '"x"'
    modified: str | None = OLD


@dataclass(slots=True)
class Site:
    """mode   ``up``, ``hang up`` (on each request), ``silent``, ``503``, ``cut`` (bodies break off half way),
            ``stall`` (they stop there and the connection stays)
    reveal  headers that come with each answer
    """

    files: dict[str, File] = field(default_factory=dict)
    mode: str = "up"
    url: str = ""
    server: Origin | None = None

    @property
    def asked(self) -> list[Asked]:
        assert self.server is not None
        return self.server.asked

    def bytes_of(self, name: str) -> int:
        """Bytes asked for by range, of one file."""
        return sum(a.range[1] - a.range[0] for a in self.asked if a.range and a.target == f"/{name}")

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        if self.mode == "hang up":
            return False
        if self.mode == "silent":
            await wire.closed_by_peer()
            return False
        if self.mode == "503":
            await wire.send(reply(503))
            return True
        answer, body = self._answer(asked)
        if self.mode in ("cut", "stall") and len(body) > 1:
            await wire.send(answer[: len(answer) - len(body) // 2])
            if self.mode == "stall":
                await wire.closed_by_peer()
            return False
        await wire.send(answer)
        return True

    def _answer(self, asked: Asked) -> tuple[bytes, bytes]:
        path = unquote(asked.target).removeprefix("/")
        if not path or path.endswith("/"):
            return self._index(path), b""
        file = self.files.get(path)
        if file is None:
            return reply(404), b""
        fields = {"Accept-Ranges": "bytes"}
        if file.etag:
            fields["ETag"] = file.etag
        if file.modified is not None:
            fields["Last-Modified"] = file.modified
        if asked.headers.get("if-match", file.etag) != file.etag:
            return reply(412), b""
        if asked.method == "HEAD":
            return reply(200, fields | {"Content-Length": str(len(file.body))}), b""
        if asked.range is None:
            return reply(200, fields, file.body), file.body
        start, end = asked.range
        body = file.body[start : min(end, len(file.body))]
        if not body:
            return reply(416, {"Content-Range": f"bytes */{len(file.body)}"}), b""
        fields["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(file.body)}"
        return reply(206, fields, body), body

    def _index(self, folder: str) -> bytes:
        """As nginx writes it."""
        names = [name.removeprefix(folder) for name in self.files if name.startswith(folder)]
        if folder and not names:
            return reply(404)
        rows = "".join(
            f'<a href="{name}">{name}</a>{" " * (51 - len(name))}02-Jan-2017 03:04 '
            f"{len(self.files[folder + name].body):>19}\r\n"
            for name in names
            if "/" not in name
        )
        text = (
            f"<html>\r\n<head><title>Index of /{folder}</title></head>\r\n<body>\r\n<h1>Index of /{folder}</h1><hr>"
            f'<pre><a href="../">../</a>\r\n{rows}</pre><hr></body>\r\n</html>\r\n'
        )
        return reply(200, {"Content-Type": "text/html"}, text.encode())


@asynccontextmanager
async def online(site: Site) -> AsyncIterator[Site]:
    """The site on a free loopback port."""
    async with origin(site) as server:
        site.server, site.url = server, server.url
        yield site

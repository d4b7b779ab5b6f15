"""The server behind ``rangefs demo``: a folder over HTTP/1.1 on loopback, with ranges and validators (RFC 9110).

Small and plain on purpose: one thread a connection, single ranges, index
pages in nginx's form. It is no server for the world.
"""

from __future__ import annotations

import email.utils
import html
import os
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from rangefs import __version__

IDLE_TIMEOUT_S = 60.0
# RFC 9110 section 14.1.2: first-last, first- or -length. Several ranges may be answered with the whole: we do.
RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))", re.ASCII)


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD below `root`."""

    root: bytes
    protocol_version = "HTTP/1.1"
    server_version = f"rangefs-demo/{__version__}"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    disable_nagle_algorithm = True
    wbufsize = 16384  # headers leave in one piece; bodies go by sendfile(2)

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing: the demo's terminal is for people."""

    def _answer(self) -> None:
        raw = unquote_to_bytes(self.path.partition("?")[0])
        parts = raw.split(b"/")[1:]
        if not raw.startswith(b"/") or b"\0" in raw or any(part in (b".", b"..") for part in parts):
            self._plain(HTTPStatus.BAD_REQUEST)
            return
        path = os.path.join(self.root, *(part for part in parts if part))
        try:
            status = os.lstat(path)
        except OSError:
            self._plain(HTTPStatus.NOT_FOUND)
            return
        if stat.S_ISDIR(status.st_mode):
            self._folder(path, raw)
        elif stat.S_ISREG(status.st_mode) and parts[-1]:
            self._file(path)
        else:
            self._plain(HTTPStatus.NOT_FOUND)

    # -- files --------------------------------------------------------------

    def _file(self, path: bytes) -> None:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            size = status.st_size
            etag = f'"{status.st_mtime_ns:x}-{size:x}"'
            validators = {"ETag": etag, "Last-Modified": email.utils.formatdate(status.st_mtime, usegmt=True)}
            if not _matches(self.headers.get("If-Match"), etag, missing=True):
                self._plain(HTTPStatus.PRECONDITION_FAILED)
                return
            if _matches(self.headers.get("If-None-Match"), etag, missing=False):
                self._headers(HTTPStatus.NOT_MODIFIED, None, validators)
                return
            wanted = self._range(size, etag)
            if wanted is None:
                self._plain(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {"Content-Range": f"bytes */{size}"})
                return
            start, end = wanted
            more = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **validators}
            partial = "Range" in self.headers and (start, end) != (0, size)
            if partial:
                more["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            self._headers(HTTPStatus.PARTIAL_CONTENT if partial else HTTPStatus.OK, end - start, more)
            self.wfile.flush()
            if self.command == "GET" and end > start:
                self.connection.sendfile(file, start, end - start)

    def _range(self, size: int, etag: str) -> tuple[int, int] | None:
        """What to send, half-open; the whole where no single range is asked for; None where it lies outside."""
        found = RANGE.fullmatch(self.headers.get("Range", "").replace(" ", ""))
        if found is None or self.headers.get("If-Range", etag) != etag:
            return 0, size
        if found[3] is not None:
            return (max(0, size - int(found[3])), size) if int(found[3]) and size else None
        first = int(found[1])
        last = min(int(found[2]), size - 1) if found[2] else size - 1
        if found[2] and int(found[2]) < first:
            return 0, size  # not a valid range: as if it were not there
        return (first, last + 1) if first < size else None

    # -- folders and the rest --------------------------------------------------

    def _folder(self, path: bytes, raw: bytes) -> None:
        if not raw.endswith(b"/"):
            self._plain(HTTPStatus.MOVED_PERMANENTLY, {"Location": quote_from_bytes(raw + b"/", safe=b"/~")})
            return
        self._body(HTTPStatus.OK, index_page(path, raw), {"Content-Type": "text/html; charset=utf-8"})

    def _plain(self, status: HTTPStatus, more: dict[str, str] | None = None) -> None:
        text = f"{status.value} {status.phrase}\n".encode()
        self._body(status, text, {"Content-Type": "text/plain", **(more or {})})

    def _body(self, status: HTTPStatus, body: bytes, more: dict[str, str]) -> None:
        self._headers(status, len(body), more)
        if self.command == "GET":
            self.wfile.write(body)

    def _headers(self, status: HTTPStatus, length: int | None, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def _matches(header: str | None, etag: str, *, missing: bool) -> bool:
    """Does a list of ETags, or ``*``, name ours? `missing` is the answer where the header is not there."""
    if header is None:
        return missing
    return header.strip() == "*" or etag in (one.strip() for one in header.split(","))


def index_page(path: bytes, raw: bytes) -> bytes:
    """The index of a folder as nginx writes it: href, date to the minute, exact size."""
    title = html.escape(os.fsdecode(raw)).encode("utf-8", "surrogateescape")
    rows = [b'<a href="../">../</a>']
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: (not entry.is_dir(), entry.name))
    for entry in entries:
        status = entry.stat(follow_symlinks=False)
        folder = stat.S_ISDIR(status.st_mode)
        name = entry.name + (b"/" if folder else b"")
        shown = html.escape(os.fsdecode(name)).encode("utf-8", "surrogateescape")
        date = time.strftime("%d-%b-%Y %H:%M", time.gmtime(status.st_mtime)).encode()
        size = b"-" if folder else str(status.st_size).encode()
        href = quote_from_bytes(name, safe=b"/~").encode()
        rows.append(b'<a href="%b">%b</a>%b %b %b' % (href, shown, b" " * max(0, 50 - len(name)), date, size.rjust(19)))
    head = b"<html>\r\n<head><title>Index of %b</title></head>\r\n<body>\r\n<h1>Index of %b</h1><hr><pre>" % (
        title,
        title,
    )
    return head + b"\r\n".join(rows) + b"\r\n</pre><hr></body>\r\n</html>\r\n"


class Server(ThreadingHTTPServer):
    """One that does not wait for idle connections when it ends."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that went away is no news."""


@contextmanager
def serving(root: Path, port: int = 0) -> Iterator[str]:
    """Serve `root` on 127.0.0.1 from a thread; gives its URL. Raises `OSError` if the port is taken."""
    handler = type("RootHandler", (Handler,), {"root": os.fsencode(root)})
    with Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()

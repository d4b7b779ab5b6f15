"""What goes over the wire before a body: the head of a question, and that of its answer.

Questions are written here: h11 and httpx build and check each of their fields
one by one, and h11 checks httpx's once more (50 µs of CPU a request, 2026-11);
one look at the whole head is as strict. Answers, which strangers write, are
h11's to read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import h11

from rangefs.core.validators import Headers

# RFC 9112 3 and 5, without what nobody needs: no white space at the ends of a value, no control characters within.
_HEAD = re.compile(
    r"[A-Z]+ [\x21-\x7e]+ HTTP/1\.1\r\n"
    r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: (?:[\x21-\x7e\x80-\xff]+(?:[ \t]+[\x21-\x7e\x80-\xff]+)*)?\r\n)*"
    r"\r\n"
)


@dataclass(frozen=True, slots=True)
class Request:
    """A question without a body; Host is among its `headers`.

    target  exactly what is asked for, as upstream spells it
    """

    method: str
    target: bytes
    headers: Mapping[str, str]

    def encode(self) -> bytes:
        """Its head as bytes. Raises `h11.LocalProtocolError` for one that is no HTTP, or more than one question."""
        fields = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        head = f"{self.method} {self.target.decode('latin-1')} HTTP/1.1\r\n{fields}\r\n"
        # Each field is one line, or something in it would pass for another field.
        if head.count("\n") != len(self.headers) + 2 or _HEAD.fullmatch(head) is None:
            raise h11.LocalProtocolError("a field with characters that can't stand in it")
        return head.encode("latin-1")


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer.

    persists  does the other side keep the connection open after the body?
    """

    status: int
    headers: Headers
    persists: bool


@cache
def told(method: str) -> h11.Request:
    """All that h11 has to know of a question to read its answer's head: with HEAD no body follows."""
    return h11.Request(method=method, target="/", headers=[("host", "")])


def head_of(response: h11.Response) -> Head:
    headers = joined(response.headers.raw_items())
    persists = response.http_version >= b"1.1" and "close" not in headers.get("connection", "").lower()
    return Head(response.status_code, headers, persists)


def joined(raw: list[tuple[bytes, bytes]]) -> Headers:
    """Lower-case names, repeated fields joined: so that a doubled Content-Range is seen to be no Content-Range."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers

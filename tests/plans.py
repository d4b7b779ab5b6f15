"""How a scripted file behaves: its versions, how its server answers by nature, and when it misbehaves.

Pure: a `Plan` and a request give an `Answer`, with no sockets. `tests.origin` plays it on the wire.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate

ALWAYS = 1 << 30
START_S = 1_500_000_000  # Last-Modified of a file's first version; each later one is an hour younger
LOGIN_PAGE = b"<html><title>Sign in</title><form action=/login><input name=user></form></html>"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, as far as it matters."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def span(self) -> tuple[int, int] | None:
        """``bytes=a-b`` as (a, b), inclusive."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        return (int(match[1]), int(match[2] or ALWAYS)) if match else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes on the wire: `length` is what Content-Length claims (None: framed by `chunked` or by the close)."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    length: int | None = None
    chunked: bool = False
    http10: bool = False

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    def put(self, name: str, value: str | None) -> Answer:
        """Set a header, or leave it out with None."""
        kept = tuple((key, old) for key, old in self.headers if key.lower() != name.lower())
        return replace(self, headers=kept if value is None else (*kept, (name, value)))


@dataclass(frozen=True, slots=True)
class Fault:
    """One misbehaviour: of requests number `first` to `first + times - 1` among those of `methods`.

    kind  a key of `LIES`, of `tests.breaks.BREAKS` or of `tests.wires.ODD_WIRES`
    first, times  of a connection's faults: among all connections
    """

    kind: str
    first: int
    times: int
    methods: tuple[str, ...] = ("GET", "HEAD")


@dataclass(slots=True)
class Plan:
    """One file.

    bodies      its versions, oldest first
    changes_at  request numbers at which the next version takes over
    validator   ``strong``, ``weak``, ``date`` (Last-Modified alone), ``none``,
                ``drifting`` (another strong ETag each time), ``lying`` (the same whatever the version)
    ranges      ``yes``, ``ignored`` (200 and all of it), ``as-200`` (200 with a Content-Range)
    framing     ``length``, ``chunked``, ``close`` (HTTP/1.0, no Content-Length for a whole body)
    head        the status that HEAD gets
    listed      does the folder's page tell the size?
    redirect    None, or after how many uses a redirect's target expires (403)
    faults      see `Fault`
    """

    bodies: list[bytes]
    changes_at: list[int] = field(default_factory=list)
    validator: str = "strong"
    ranges: str = "yes"
    framing: str = "length"
    head: int = 200
    listed: bool = True
    redirect: int | None = None
    faults: tuple[Fault, ...] = ()
    asked: int = 0  #: requests so far
    by_fault: dict[Fault, int] = field(default_factory=dict)
    targets: int = 0  #: redirect targets handed out
    uses: dict[str, int] = field(default_factory=dict)  #: of each of them

    def current(self) -> int:
        """Which version a request sees now."""
        return min(sum(self.asked >= at for at in self.changes_at), len(self.bodies) - 1)

    def due(self, method: str) -> Fault | None:
        """The fault that this request meets; counts it."""
        found: Fault | None = None
        for fault in self.faults:
            if method in fault.methods:
                number = self.by_fault.get(fault, 0)
                self.by_fault[fault] = number + 1
                if found is None and fault.first <= number < fault.first + fault.times:
                    found = fault
        return found

    def heal(self) -> None:
        """From now on an honest server: no more faults, changes or drifting tags."""
        if self.validator == "drifting":
            self.validator = "strong"
        self.changes_at = [at for at in self.changes_at if at <= self.asked]
        self.faults = ()
        self.redirect = None

    def etag(self, version: int) -> str | None:
        return {
            "strong": f'"v{version}-{len(self.bodies[version]):x}"',
            "weak": f'W/"v{version}"',
            "drifting": f'"drift-{self.asked}"',
            "lying": '"always-the-same"',
        }.get(self.validator)

    def answer(self, ask: Ask) -> Answer:
        """What an honest server of this nature says."""
        version = self.current()
        self.asked += 1
        if ask.method == "HEAD" and self.head != 200:
            return Answer(self.head, length=0)
        body, etag = self.bodies[version], self.etag(version)
        modified = None if self.validator in {"none", "drifting"} else START_S
        if modified is not None and self.validator != "lying":
            modified += 3600 * version
        base = Answer(200, (("Content-Type", "application/octet-stream"),), body, len(body))
        base = base.put("ETag", etag)
        base = base.put("Last-Modified", None if modified is None else formatdate(modified, usegmt=True))
        if self.ranges == "yes":
            base = base.put("Accept-Ranges", "bytes")
            if (wanted := ask.headers.get("if-match")) and wanted not in ("*", etag):
                return Answer(412, length=0)
        if ask.span and self.ranges != "ignored":
            base = ranged(base, *ask.span, status=200 if self.ranges == "as-200" else 206)
        if self.framing == "chunked":
            base = replace(base, chunked=True, length=None)
        elif self.framing == "close":
            base = replace(base, http10=True, length=base.length if base.get("Content-Range") else None)
        return base


def ranged(whole: Answer, first: int, last: int, status: int = 206) -> Answer:
    """The part of an answer that a range asks for."""
    size = len(whole.body)
    if first >= size:
        return Answer(416, length=0).put("Content-Range", f"bytes */{size}")
    last = min(last, size - 1)
    part = whole.body[first : last + 1]
    answer = replace(whole, status=status, body=part, length=len(part))
    return answer.put("Content-Range", f"bytes {first}-{last}/{size}")


# -- lies: what the answer says is not so ------------------------------------------------


def with_range(change: Callable[[int, int, int], str]) -> Callable[[Answer], Answer]:
    """A 206 whose Content-Range is another; other answers are left alone."""

    def lie(answer: Answer) -> Answer:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.get("Content-Range"))
        if not match:
            return answer
        return answer.put("Content-Range", change(*(int(number) for number in match.groups())))

    return lie


def shifted(answer: Answer) -> Answer:
    """A wholly honest answer to another range: one byte further on."""
    lie = with_range(lambda first, last, total: f"bytes {first + 1}-{min(last + 1, total)}/{total + 1}")
    return replace(lie(answer), body=answer.body[1:] + b"?") if answer.get("Content-Range") else answer


def shorter(answer: Answer) -> Answer:
    """Half of the range: legal, the rest must be asked for."""
    half = max(1, len(answer.body) // 2)
    if not answer.get("Content-Range") or not answer.body:
        return answer
    cut = with_range(lambda first, _, total: f"bytes {first}-{first + half - 1}/{total}")(answer)
    return replace(cut, body=answer.body[:half], length=None if answer.length is None else half)


def longer(answer: Answer) -> Answer:
    """More than was asked for, and more than there may be."""
    lie = with_range(lambda first, last, total: f"bytes {first}-{last + 10}/{total + 10}")
    if not answer.get("Content-Range"):
        return answer
    return replace(lie(answer), body=answer.body + b"0123456789", length=len(answer.body) + 10)


def surplus(answer: Answer) -> Answer:
    """More bytes than the Content-Range says."""
    if not answer.get("Content-Range"):
        return answer
    length = None if answer.length is None else len(answer.body) + 7
    return replace(answer, body=answer.body + b"surplus", length=length)


def multipart(answer: Answer) -> Answer:
    if not (span := answer.get("Content-Range")):
        return answer
    head = f"\r\n--cut\r\nContent-Type: application/octet-stream\r\nContent-Range: {span}\r\n\r\n".encode()
    body = head + answer.body + b"\r\n--cut--\r\n"
    typed = answer.put("Content-Type", "multipart/byteranges; boundary=cut").put("Content-Range", None)
    return replace(typed, body=body, length=len(body))


def zipped(answer: Answer) -> Answer:
    """Content-Encoding though identity was asked for, and of the part at that."""
    body = gzip.compress(answer.body, 1, mtime=0)
    return replace(answer.put("Content-Encoding", "gzip"), body=body, length=len(body))


def plain(status: int, *headers: tuple[str, str], body: bytes = b"refused\n") -> Callable[[Answer], Answer]:
    return lambda _: Answer(status, headers, body, len(body))


def unasked(answer: Answer) -> Answer:
    """206 with half of the body, where all of it was asked for."""
    if answer.status != 200 or answer.get("Content-Range") or len(answer.body) < 2:
        return answer
    half = ranged(answer, 0, len(answer.body) // 2)
    return replace(half, length=answer.length and half.length)


def login(_: Answer) -> Answer:
    return Answer(200, (("Content-Type", "text/html"),), LOGIN_PAGE, len(LOGIN_PAGE))


LIES: dict[str, Callable[[Answer], Answer]] = {
    "shifted range": shifted,
    "shorter range": shorter,
    "longer range": longer,
    "range of another place": with_range(lambda first, last, total: f"bytes {first + 7}-{last + 7}/{total}"),
    "another total": with_range(lambda first, last, total: f"bytes {first}-{last}/{total + 1000}"),
    "unknown total": with_range(lambda first, last, _: f"bytes {first}-{last}/*"),
    "backward range": with_range(lambda first, last, total: f"bytes {last}-{first}/{total}"),
    "range in words": with_range(lambda *_: "bytes all of it"),
    "huge range": with_range(lambda *_: "bytes 0-999999999999999999999999/9999999999999999999999999"),
    "no Content-Range": lambda answer: answer.put("Content-Range", None),
    "body longer than its range": surplus,
    "part of an unasked range": unasked,
    "multipart": multipart,
    "gzip": zipped,
    "another etag": lambda answer: answer.put("ETag", '"of-something-else"'),
    "another date": lambda answer: answer.put("Last-Modified", formatdate(START_S - 86_400, usegmt=True)),
    "broken etag": lambda answer: answer.put("ETag", '"unfinished'),
    "no validators": lambda answer: answer.put("ETag", None).put("Last-Modified", None),
    "weakened etag": lambda answer: answer.put("ETag", f"W/{tag}" if (tag := answer.get("ETag")) else None),
    "login page": login,
    "304": plain(304, body=b""),
    "400": plain(400),
    "401": plain(401, ("WWW-Authenticate", "Basic realm=x")),
    "403": plain(403),
    "404": plain(404),
    "408": plain(408),
    "410": plain(410),
    "412": plain(412),
    "416": plain(416),
    "429": plain(429, ("Retry-After", "0")),
    "429 for a second": plain(429, ("Retry-After", "1")),
    "500": plain(500),
    "502": plain(502),
    "503": plain(503),
    "503 for an hour": plain(503, ("Retry-After", "3600")),
    "503 till a date": plain(503, ("Retry-After", formatdate(4_000_000_000, usegmt=True))),
    "redirect loop": lambda _: Answer(302, (("Location", "?again"),), length=0),
    "redirect to nowhere": plain(302, ("Location", "http://127.0.0.1:1/")),
    "redirect to a file": plain(302, ("Location", "file:///etc/passwd")),
    "redirect without Location": plain(302),
}

"""The small protocol that every upstream speaks.

All keys are bytes, verbatim as upstream spelled them (`Entry.key`), and opaque
to everyone but the source that made them. The root folder's key is ``b""``.

Every method may raise `errors.NotFound`, `Denied`, `BadAnswer`, `Unreachable`,
`DeadlineExceeded`, `TooManyRedirects`; tries, redirects and judging of the
answer have happened by then. Cancelling a call leaves nothing behind but, at
worst, a closed connection.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from rangefs.core.entries import Entry, Listing
from rangefs.core.versions import Stat, Version

READ_ALL_BYTES = 64 << 10  #: the most that `read_all` takes at a time

_numbers = itertools.count()


class Ticket:
    """A fetch's place in the queue for a connection.

    urgent  a reader waits for it; may be set while the fetch is queued or under way (it then passes those ahead)
    number  its place among those as urgent: when it was made, or that of the ticket it was made from. Tasks that
            were started one after another begin in any order (trio's), and what a reader comes to first goes first

    How long a fetch may take is the caller's cancel scope: tries end at ``trio.current_effective_deadline()``.
    """

    __slots__ = ("_on_urgent", "_urgent", "number")

    def __init__(self, urgent: bool = True, number: int | None = None) -> None:
        self.number = next(_numbers) if number is None else number
        self._urgent = urgent
        self._on_urgent: Callable[[], None] | None = None

    def __repr__(self) -> str:
        return f"Ticket(urgent={self._urgent})"

    @property
    def urgent(self) -> bool:
        return self._urgent

    @urgent.setter
    def urgent(self, urgent: bool) -> None:
        self._urgent = urgent
        if urgent and self._on_urgent is not None:
            self._on_urgent()

    def when_urgent(self, wake: Callable[[], None] | None) -> None:
        """Whom to tell when this becomes urgent; the queue it stands in sets and clears this."""
        self._on_urgent = wake


class Body(Protocol):
    """An answer whose headers have been judged; its bytes are still on their way.

    stat   the version that answers, equal to or compatible with the pin if one was given
    start  the first offset, always as asked
    end    one past the last offset promised, at most as asked (shorter is legal: ask for the rest);
           None for a whole body of unknown length

    It ends normally only when `end` has been reached (or, where `end` is None, when the body ended as its framing
    says it should); a cut-off body raises `errors.Unreachable` after what was good has been given, and one that is
    too long raises `errors.BadAnswer`.
    """

    stat: Stat
    start: int
    end: int | None

    async def readinto(self, buffer: memoryview) -> int:
        """The next bytes, in order, into `buffer`: how many, 0 at the end.

        `buffer` may be empty only where all up to `end` has been given: then this is the look whether more comes.
        """


class Source(Protocol):
    """One upstream tree.

    identity  names what is mounted and as whom, without secrets: caches of two identities never mix.
    """

    identity: str

    async def connect(self) -> Listing | None:
        """Prove that the root answers; its listing, where that was the proof and the first time it was asked for.

        Raises a one-line error that says what to do.
        """

    async def list(self, key: bytes) -> Listing:
        """The folder `key`, whole. Unreachable is never an empty listing. Raises `NotAListing` too."""

    async def stat(self, key: bytes) -> Stat:
        """What upstream has under the file key `key` now, asked anew."""

    def fetch(
        self, key: bytes, start: int, end: int, pin: Version | None, ticket: Ticket
    ) -> AbstractAsyncContextManager[Body]:
        """Bytes ``[start, end)``, 0 ≤ start < end, one range request.

        With a `pin`, the answer is of that version or `errors.Stale` is raised (the changed version, where the
        answer told it, is the exception's ``stat`` attribute). Without one, whatever version answers is in
        `Body.stat`, and `end` may reach past its size. Raises `errors.RangesIgnored` where the origin answers with
        the whole body instead.
        """

    def fetch_whole(self, key: bytes, pin: Version | None, ticket: Ticket) -> AbstractAsyncContextManager[Body]:
        """The whole body by a plain GET, for origins that have no ranges or no length. Same rules."""

    def url(self, key: bytes) -> str:
        """Where `key`'s bytes come from, for people: no secrets in it."""

    async def aclose(self) -> None:
        """Close all connections."""


class Readable(Protocol):
    """Whatever can be read to its end: a `Body`, a raw answer."""

    async def readinto(self, buffer: memoryview) -> int:
        """The next bytes into `buffer` (not empty): how many, 0 at the end."""


async def read_all(body: Readable, limit_bytes: int) -> bytes | None:
    """All (that is left) of `body`, or None if that is more than `limit_bytes`. Raises what reading raises."""
    parts: list[bytes] = []
    size_bytes = 0
    buffer = memoryview(bytearray(READ_ALL_BYTES))
    while count := await body.readinto(buffer):
        parts.append(bytes(buffer[:count]))
        size_bytes += count
        if size_bytes > limit_bytes:
            return None
    return b"".join(parts)


@runtime_checkable
class Finder(Protocol):
    """A source that can tell one name of a folder without listing it: some folders have a million."""

    async def find(self, folder: bytes, name: bytes) -> Entry | None:
        """The entry that the listing of the folder key `folder` would have for `name`; None where it has none.

        Raises `errors.InvalidName` for a name that only the listing can resolve, and as all methods of `Source` do.
        """

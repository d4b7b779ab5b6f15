"""Servers that show folders as they show files (mini_httpd): which is which is asked, name by name, and remembered.

Any tool that walks a tree goes by what readdir says, so the kind has to be known before a listing is shown. The
ordinary servers end a folder's link with a slash, and none of their names is ever asked for here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import trio

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.versions import Stat
from rangefs.errors import BadAnswer, Denied, IsADirectory, NotFound, RangefsError

# A folder of more names is shown with the rest as files; one that is a folder is found out when it is opened.
MOST_ASKED = 10_000
# At a time, of the 16 connections that an origin is given: readers need some.
TOGETHER = 8
_MOST_KNOWN = 100_000

T = TypeVar("T", bytes, Entry)


class Kinds:
    """What is known of a server's names beyond its listings.

    stat  asks for one; raises `IsADirectory` where it is sent on to the name with a slash
    """

    def __init__(self, stat: Callable[[bytes], Awaitable[Stat]]) -> None:
        self._stat = stat
        self._folders: OrderedDict[bytes, None] = OrderedDict()
        self._files: OrderedDict[Entry, None] = OrderedDict()  # as listed: one that changes is asked for again

    def folder(self, key: bytes) -> None:
        """A file's `key` has led to a folder."""
        _remember(self._folders, key)

    def no_folder(self, key: bytes) -> None:
        """The folder `key` (with its slash) can't be listed: perhaps it is a file again."""
        self._folders.pop(key.removesuffix(b"/"), None)

    async def told(self, listing: Listing) -> Listing:
        """`listing` with folders told from files.

        Raises what asking raises, but for a refusal: that is a file's. Cancelled: what was learned is kept.
        """
        if listing.unmarked:
            await self._ask_for([entry for entry in listing.entries if not self._known(entry)][:MOST_ASKED])
        elif not self._folders:
            return listing
        entries = tuple(self._shown(entry, listing.unmarked) for entry in listing.entries)
        return replace(listing, entries=entries, unmarked=False)

    def _known(self, entry: Entry) -> bool:
        return entry.key in self._folders or entry in self._files

    def _shown(self, entry: Entry, unmarked: bool) -> Entry:
        if entry.kind is Kind.FILE and entry.key in self._folders:
            return replace(entry, kind=Kind.FOLDER, key=entry.key + b"/", size=None)
        return replace(entry, size=None) if unmarked and entry not in self._files else entry

    async def _ask_for(self, entries: Sequence[Entry]) -> None:
        limit = trio.CapacityLimiter(TOGETHER)
        failures: list[RangefsError] = []

        async def ask(entry: Entry) -> None:
            async with limit:
                try:
                    await self._stat(entry.key)
                except IsADirectory:
                    return  # `folder` has been told
                except (NotFound, Denied, BadAnswer):
                    pass  # gone again, or a file that shows nothing: listed all the same
                except RangefsError as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel()
                    return
                _remember(self._files, entry)

        async with trio.open_nursery() as nursery:
            for entry in entries:
                nursery.start_soon(ask, entry)
        if failures:
            raise failures[0]


def _remember(known: OrderedDict[T, None], what: T) -> None:
    known[what] = None
    if len(known) > _MOST_KNOWN:
        known.popitem(last=False)

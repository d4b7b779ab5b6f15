"""Entries of one folder, gathered one by one: names made safe, collisions settled, numbers bounded."""

from __future__ import annotations

from dataclasses import replace

from rangefs.core import names
from rangefs.core.entries import Entry, Kind, Listing
from rangefs.errors import TooLarge

MAX_ENTRIES = 1_000_000  #: a folder of more is refused: about 400 MB of entries
CADDY_CUTS_AT = 10_000  #: Caddy's default ``file_limit``; it drops the rest without a word
MAX_SIZE = 2**63 - 1  #: ``off_t``: no file can be shown as larger

_FIRST_NS, _LAST_NS = -(2**63), 2**63 - 1  #: a timespec that survives the trip through FUSE


class FolderBuilder:
    """Collects the entries of a folder, in upstream's order.

    What a name clashes with decides: a folder wins over a file, which then appears under
    `names.beside_folder`; otherwise the first wins, and the loser is counted as refused
    unless it is the very same key (some pages link an entry twice).
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._escaped = 0
        self._refused = 0

    def add(
        self,
        raw_name: bytes,
        kind: Kind,
        key: bytes,
        *,
        size: int | None = None,
        mtime_ns: int | None = None,
        mtime_precision_ns: int = 0,
        etag: str = "",
    ) -> None:
        """One entry, named `raw_name` upstream. Raises `TooLarge` past `MAX_ENTRIES`.

        A size or time that no file can have is dropped: it is unknown then, not wrong.
        """
        if len(self._entries) >= MAX_ENTRIES:
            raise TooLarge(f"the folder has more than {MAX_ENTRIES} entries: mount a folder below it")
        if kind is Kind.FOLDER or (size is not None and not 0 <= size <= MAX_SIZE):
            size = None
        if mtime_ns is None or not _FIRST_NS <= mtime_ns <= _LAST_NS:
            mtime_ns, mtime_precision_ns = None, 0
        name = raw_name if names.shown_as_is(raw_name) else names.component(raw_name).name
        self._place(raw_name, Entry(name, kind, key, size, mtime_ns, mtime_precision_ns, etag))

    def refuse(self, count: int = 1) -> None:
        """Count entries that can't be shown at all."""
        self._refused += count

    def build(self, cut_at: int | None = None) -> Listing:
        """The folder. It is incomplete if upstream cuts its listings off after `cut_at` entries, and this many came."""
        complete = cut_at is None or len(self._entries) + self._refused < cut_at
        return Listing(tuple(self._entries.values()), self._escaped, self._refused, complete)

    def _place(self, raw_name: bytes, entry: Entry) -> None:
        there = self._entries.get(entry.name)
        if there is None:
            self._entries[entry.name] = entry
            self._escaped += entry.name != raw_name
        elif there.kind is entry.kind:
            self._refused += there.key != entry.key
        elif entry.kind is Kind.FILE:
            self._set_aside(raw_name, entry)
        else:
            self._entries[entry.name] = entry
            self._set_aside(raw_name, there)

    def _set_aside(self, raw_name: bytes, file: Entry) -> None:
        self._place(raw_name, replace(file, name=names.beside_folder(raw_name).name))

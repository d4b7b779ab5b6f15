"""What a listing says: names, and as much about them as upstream let on."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import dropwhile, islice


class Kind(enum.Enum):
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder.

    name       one path component, bytes, safe for POSIX (`core.names` has escaped it where needed)
    kind       FILE or FOLDER
    key        what to ask the source for, verbatim as upstream spelled it; a folder's key is what `Source.list` takes
    size       exact bytes; None where the listing has none or rounds it
    mtime_ns   ns since the epoch; None where the listing has none
    mtime_precision_ns  how far off `mtime_ns` may be: 0 where exact, 1 s in nginx's JSON, 14 h in HTML without a zone
    etag       the validator, where the listing carries one (S3, WebDAV, catalogs), in the form answers will have it
    """

    name: bytes
    kind: Kind
    key: bytes
    size: int | None = None
    mtime_ns: int | None = None
    mtime_precision_ns: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """A whole folder, in upstream's order, names unique (a folder wins over a file of its name).

    escaped  how many names had to be escaped to be shown
    refused  how many entries could not be shown at all (counted, never silent)
    complete  False where upstream is known to cut its listings off: a name that is not here may exist all the same
    unmarked  upstream shows folders as it shows files: any FILE may be a folder, and its size that of a folder. Only
              from a parser: a source finds out, and never hands this on
    mirrored  a mirror says so, the primary could not be asked
    """

    entries: tuple[Entry, ...]
    escaped: int = 0
    refused: int = 0
    complete: bool = True
    unmarked: bool = False
    mirrored: bool = False
    by_name: dict[bytes, Entry] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {entry.name: entry for entry in self.entries})

    def with_more(self, other: Listing) -> Listing:
        """This one, and after it the names that only `other` has."""
        more = tuple(entry for entry in other.entries if entry.name not in self.by_name)
        return replace(self, entries=(*self.entries, *more)) if more else self

    def after(self, name: bytes, count: int) -> Iterator[Entry]:
        """Up to `count` entries that follow `name`, in upstream's order."""
        following = dropwhile(lambda entry: entry.name != name, self.entries)
        return islice(following, 1, 1 + count)

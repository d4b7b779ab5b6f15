"""Inodes, folders and the versions that names stand for. Synchronous, no FUSE, no network.

One inode a (path, version): the kernel keeps pages by inode, so a new version
is a new inode number and two versions can never be mixed. Numbers count up
and are never used again.

States of a `File`:

=========== ==================================================== ===================================
state       known                                                next
=========== ==================================================== ===================================
provisional what a listing said (`entry`)                        pinned, by the first answer; spent
pinned      the version (`blob.stat`)                            spent
spent       it is not, or no longer, what its name stands for    forgotten by the kernel
=========== ==================================================== ===================================

Invariants

- ``folder.children[name]`` is the current inode of that name; a spent one is
  replaced there at the next look-up. Attributes once shown are frozen: only
  what was unknown (`size` None) is ever filled in, once.
- A node lives while the kernel counts look-ups of it, or a child of it lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import trio

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.versions import Stat
from rangefs.core.walk import Walk
from rangefs.errors import RangefsError
from rangefs.read.blob import Blob, agrees

ROOT_INO = 1  # FUSE_ROOT_ID
NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class Question:
    """Something is being asked of upstream, once for all who wait."""

    done: trio.Event = field(default_factory=trio.Event)
    error: RangefsError | None = None


@dataclass(slots=True, eq=False)
class Folder:
    """A folder. Times are `Asking.clock`'s.

    listing    what upstream has in it, None until first asked
    listed_at  when that was true
    recalled   the listing is what the cache kept of an earlier mount: shown only where upstream can't be asked
    asked_at   when upstream was last asked in vain
    stale      upstream could not be asked again, the listing is older than the TTL
    asked      attributes that readdir did not know and someone asked for one by one
    refresh    the question under way
    walk       someone who reads the files one after another
    places     where each name is in the listing, once a walk needs it
    """

    ino: int
    parent: Folder | None
    name: bytes
    key: bytes
    lookups: int = 0
    listing: Listing | None = None
    listed_at: float = NEVER
    recalled: bool = False
    asked_at: float = NEVER
    stale: bool = False
    asked: int = 0
    children: dict[bytes, Folder | File] = field(default_factory=dict)
    refresh: Question | None = None
    walk: Walk | None = None
    places: dict[bytes, int] | None = None

    def place(self, name: bytes) -> int | None:
        """Where a name is in the listing."""
        if self.places is None and self.listing is not None:
            self.places = {entry.name: at for at, entry in enumerate(self.listing.entries)}
        return self.places.get(name) if self.places else None


@dataclass(slots=True, eq=False)
class File:
    """One version of one file.

    size, mtime_ns  as shown; None until known
    validated_at    when upstream last said that this is the current version
    asked_at        when upstream was last asked in vain
    stale           it is shown past its TTL because upstream fails
    unsized         upstream does not say how long it is
    opens           open handles
    succeeds        it took the place of what the folder's listing still shows: forgotten, it would be that again
    """

    ino: int
    parent: Folder
    name: bytes
    entry: Entry
    lookups: int = 0
    size: int | None = None
    mtime_ns: int | None = None
    blob: Blob | None = None
    validated_at: float = NEVER
    asked_at: float = NEVER
    opens: int = 0
    spent: bool = False
    stale: bool = False
    unsized: bool = False
    succeeds: bool = False
    question: Question | None = None

    @property
    def key(self) -> bytes:
        return self.entry.key

    @property
    def stat(self) -> Stat | None:
        return self.blob.stat if self.blob else None


Node = Folder | File


class Tree:
    """All live inodes of one mount."""

    def __init__(self) -> None:
        self.root = Folder(ROOT_INO, None, b"", b"", lookups=1)
        self.nodes: dict[int, Node] = {ROOT_INO: self.root}
        self._next_ino = ROOT_INO + 1

    def child(self, folder: Folder, entry: Entry) -> Node:
        """The current node of a listed name, made if need be."""
        node = folder.children.get(entry.name)
        if node is None or (isinstance(node, File) and node.spent) or not _same_kind(node, entry):
            node = self._make(folder, entry)
        return node

    def supersede(self, file: File, stat: Stat | None) -> None:
        """`file` is not current any more; where it is known, `stat` is."""
        file.spent = True
        if file.parent.children.get(file.name) is not file:
            return
        if stat is None:
            del file.parent.children[file.name]
            self._prune(file)
            return
        entry = Entry(file.name, Kind.FILE, file.key, stat.version.size, stat.mtime_ns)
        new = self._make(file.parent, entry)
        assert isinstance(new, File)
        new.blob = Blob(entry, stat)
        new.unsized = stat.version.size is None
        new.succeeds = True  # the kernel looks a changed name up twice, and may forget the first answer in between
        self._prune(file)

    def update(self, folder: Folder, listing: Listing, now: float, asked_at: float | None = None) -> list[bytes]:
        """A newer listing: returns the names that stand for something else now, or for nothing.

        asked_at  before it came: what upstream has said of single files since then is newer
        """
        since = now if asked_at is None else asked_at
        folder.listing, folder.listed_at, folder.stale, folder.recalled, folder.asked = listing, now, False, False, 0
        folder.walk = folder.places = None
        changed = []
        for name, node in list(folder.children.items()):
            entry = listing.by_name.get(name)
            if entry is not None and _newer(node, entry, since):
                continue
            if entry is not None and _still(node, entry):
                if isinstance(node, File) and node.succeeds:
                    node.succeeds = False
                    self._prune(node)
                continue
            changed.append(name)
            del folder.children[name]
            if isinstance(node, File):
                node.spent = True
            self._prune(node)
        return changed

    def remember(self, node: Node) -> None:
        """The kernel has been told of it once more."""
        node.lookups += 1

    def forget(self, ino: int, count: int) -> None:
        """The kernel has dropped `count` of its look-ups."""
        node = self.nodes.get(ino)
        if node is not None:
            node.lookups -= count
            self._prune(node)

    def live(self) -> Iterator[File]:
        """Files that are open."""
        return (node for node in self.nodes.values() if isinstance(node, File) and node.opens)

    def _make(self, folder: Folder, entry: Entry) -> Node:
        node: Node
        if entry.kind is Kind.FOLDER:
            node = Folder(self._next_ino, folder, entry.name, entry.key)
        else:
            node = File(self._next_ino, folder, entry.name, entry, size=entry.size, mtime_ns=entry.mtime_ns)
        self._next_ino += 1
        self.nodes[node.ino] = node
        folder.children[entry.name] = node
        return node

    def _prune(self, node: Node) -> None:
        """Drop it, and then its folder, if nothing needs it any more."""
        while node.lookups <= 0 and node.parent is not None:
            if node.children if isinstance(node, Folder) else node.opens or (node.succeeds and not node.spent):
                return
            parent = node.parent
            self.nodes.pop(node.ino, None)
            if parent.children.get(node.name) is node:
                del parent.children[node.name]
            node = parent


def _same_kind(node: Node, entry: Entry) -> bool:
    return isinstance(node, Folder) == (entry.kind is Kind.FOLDER)


def _still(node: Node, entry: Entry) -> bool:
    """Does a newer listing's entry mean the same version (or folder) as `node`?"""
    if not _same_kind(node, entry):
        return False
    if isinstance(node, Folder):
        return node.key == entry.key
    if node.key != entry.key or node.spent:
        return False
    if node.stat is not None:
        return agrees(entry, node.stat) and not _relisted(node.entry, entry)
    return entry == node.entry or _only_more(node.entry, entry)


def _newer(node: Node, entry: Entry, asked_at: float) -> bool:
    """Is what is known of a file from an answer of its own, that came after the listing was asked for?"""
    return isinstance(node, File) and not node.spent and node.key == entry.key and node.validated_at > asked_at


def _relisted(old: Entry, new: Entry) -> bool:
    """The same listing format shows another time or size than before, however coarse."""
    return old.mtime_precision_ns == new.mtime_precision_ns and (old.mtime_ns, old.size) != (new.mtime_ns, new.size)


def _only_more(old: Entry, new: Entry) -> bool:
    """Nothing known before is contradicted."""
    return (
        (old.size is None or old.size == new.size)
        and (old.mtime_ns is None or old.mtime_ns == new.mtime_ns)
        and (not old.etag or old.etag == new.etag)
    )

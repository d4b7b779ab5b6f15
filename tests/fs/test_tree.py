"""Inodes against their rules: one a version, never reused, current where the name is."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rangefs.core.entries import Entry, Kind, Listing
from rangefs.core.versions import Level, Stat, Version
from rangefs.fs.tree import ROOT_INO, File, Folder, Tree
from rangefs.read.blob import Blob

SECOND = 1_000_000_000


def entry(name: bytes, size: int | None = 10, mtime: int | None = 100, precision: int = SECOND) -> Entry:
    return Entry(name, Kind.FILE, name, size, None if mtime is None else mtime * SECOND, precision)


def stat(name: bytes, size: int, mtime: int, tag: str = '"1"') -> Stat:
    return Stat(Version(name, Level.STRONG, tag, size), mtime * SECOND)


def file_of(tree: Tree, row: Entry) -> File:
    node = tree.child(tree.root, row)
    assert isinstance(node, File)
    return node


def test_the_same_version_keeps_its_inode_and_another_gets_a_new_one() -> None:
    tree = Tree()
    tree.update(tree.root, Listing((entry(b"a"),)), 0)
    first = file_of(tree, entry(b"a"))
    assert tree.update(tree.root, Listing((entry(b"a"),)), 1) == []
    assert file_of(tree, entry(b"a")) is first
    assert tree.update(tree.root, Listing((entry(b"a", size=11),)), 2) == [b"a"]
    assert first.spent
    assert file_of(tree, entry(b"a", size=11)).ino != first.ino


def test_a_name_that_is_gone_is_spent_and_reported() -> None:
    tree = Tree()
    node = file_of(tree, entry(b"a"))
    assert tree.update(tree.root, Listing(()), 1) == [b"a"]
    assert node.spent


@pytest.mark.parametrize(
    ("relisted", "same"),
    [
        (entry(b"a", mtime=100), True),
        (entry(b"a", mtime=101), False),
        (entry(b"a", size=12, mtime=100), False),
        (entry(b"a", size=None, mtime=None, precision=0), True),
    ],
)
def test_a_pinned_file_is_judged_by_what_the_listing_says(relisted: Entry, same: bool) -> None:
    tree = Tree()
    node = file_of(tree, entry(b"a", size=None, mtime=None, precision=0))
    node.blob = Blob(node.entry, stat(b"a", 10, 100))
    assert (tree.update(tree.root, Listing((relisted,)), 1) == []) is same


def test_a_coarse_time_that_moves_is_a_change_and_one_that_stays_is_not() -> None:
    tree = Tree()
    row = entry(b"a", mtime=60, precision=60 * SECOND)
    node = file_of(tree, row)
    node.blob = Blob(row, stat(b"a", 10, 7295))  # listed in another time zone than the answer's
    assert tree.update(tree.root, Listing((row,)), 1) == []
    assert tree.update(tree.root, Listing((entry(b"a", mtime=120, precision=60 * SECOND),)), 2) == [b"a"]


def test_an_answer_about_a_file_outlives_a_listing_that_was_asked_for_before_it() -> None:
    tree = Tree()
    old = entry(b"a", mtime=100)
    first = file_of(tree, old)
    tree.supersede(first, stat(b"a", 10, 200))
    second = file_of(tree, old)
    assert second is not first
    second.validated_at = 5
    assert tree.update(tree.root, Listing((old,)), 7, asked_at=4) == []
    assert file_of(tree, old) is second
    assert tree.update(tree.root, Listing((old,)), 9, asked_at=6) == [b"a"]
    assert second.spent


def test_a_successor_that_the_kernel_forgets_is_known_until_a_listing_has_it() -> None:
    tree = Tree()
    old, new = entry(b"a", mtime=100), entry(b"a", mtime=200)
    first = file_of(tree, old)
    tree.update(tree.root, Listing((old,)), 1)
    tree.supersede(first, stat(b"a", 10, 200))
    second = file_of(tree, old)
    second.validated_at = 2
    tree.remember(second)
    tree.forget(second.ino, 1)
    assert file_of(tree, old) is second
    assert tree.update(tree.root, Listing((new,)), 4, asked_at=3) == []
    assert list(tree.nodes) == [tree.root.ino]


def test_superseding_publishes_the_new_version_under_the_same_name() -> None:
    tree = Tree()
    old = file_of(tree, entry(b"a"))
    tree.supersede(old, stat(b"a", 99, 200, '"2"'))
    new = file_of(tree, entry(b"a"))
    assert new is not old
    assert (new.size, new.mtime_ns) == (99, 200 * SECOND)
    assert new.stat is not None
    tree.remember(new)
    assert tree.update(tree.root, Listing((entry(b"a", size=99, mtime=200),)), 3) == []
    tree.supersede(old, None)
    assert file_of(tree, entry(b"a")) is new, "an old version's end is not the new one's"


class Kernel(RuleBasedStateMachine):
    """The kernel looks up, opens, closes and forgets; upstream relists behind its back."""

    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.rows = {b"a": entry(b"a"), b"b": entry(b"b")}
        self.counts: dict[int, int] = {}
        self.open: list[File] = []
        self.seen: dict[int, Entry] = {}

    @rule(name=st.sampled_from([b"a", b"b", b"c"]), size=st.integers(1, 3))
    def relist(self, name: bytes, size: int) -> None:
        self.rows[name] = entry(name, size)
        self.tree.update(self.tree.root, Listing(tuple(self.rows.values())), 0)

    @rule(name=st.sampled_from([b"a", b"b", b"c"]))
    def look_up(self, name: bytes) -> None:
        if name in self.rows:
            node = file_of(self.tree, self.rows[name])
            self.tree.remember(node)
            self.counts[node.ino] = self.counts.get(node.ino, 0) + 1
            assert self.seen.setdefault(node.ino, self.rows[name]) == self.rows[name], "an inode is one version"

    @rule(data=st.data())
    def open_or_close(self, data: st.DataObject) -> None:
        live = [n for n in self.tree.nodes.values() if isinstance(n, File) and n.lookups > 0]
        if live and data.draw(st.booleans()):
            file = data.draw(st.sampled_from(live))
            file.opens += 1
            self.open.append(file)
        elif self.open:
            file = self.open.pop()
            file.opens -= 1
            self.tree.forget(file.ino, 0)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        known = [ino for ino, count in self.counts.items() if count]
        if known:
            ino = data.draw(st.sampled_from(known))
            self.tree.forget(ino, self.counts.pop(ino))

    @invariant()
    def nodes_live_as_long_as_the_kernel_or_a_handle_needs_them(self) -> None:
        for ino in (ino for ino, count in self.counts.items() if count):
            assert ino in self.tree.nodes
        for file in self.open:
            assert file.ino in self.tree.nodes
        assert isinstance(self.tree.nodes[ROOT_INO], Folder)
        for ino, node in self.tree.nodes.items():
            if isinstance(node, File) and ino != ROOT_INO and node.lookups == 0 and not node.opens:
                assert self.tree.root.children.get(node.name) is node, "nothing unneeded is kept but a current name"


TestKernel = Kernel.TestCase

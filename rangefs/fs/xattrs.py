"""The ``user.rangefs.*`` attributes of files and, as far as they have them, of folders."""

from __future__ import annotations

from rangefs.fs.freshness import freshness_of
from rangefs.fs.namespace import Namespace
from rangefs.fs.tree import File, Node

URL = b"user.rangefs.url"
VALIDATOR = b"user.rangefs.validator"
CACHED_BYTES = b"user.rangefs.cached_bytes"
STATE = b"user.rangefs.state"
STALE_FOR = b"user.rangefs.stale_for"  #: whole seconds; 0 while fresh, "" where it is not known
REASON = b"user.rangefs.reason"
OF_FOLDERS = (URL, STATE, STALE_FOR, REASON)
OF_FILES = (*OF_FOLDERS, VALIDATOR, CACHED_BYTES)


def names_of(node: Node) -> tuple[bytes, ...]:
    """The attributes that a node has."""
    return OF_FILES if isinstance(node, File) else OF_FOLDERS


async def value_of(names: Namespace, node: Node, name: bytes) -> bytes | None:
    """The value, or None where a node has no such attribute. Never asks upstream."""
    if name not in names_of(node):
        return None
    if isinstance(node, File) and name == VALIDATOR:
        stat = node.stat or await names.known(node)
        return stat.version.validator.encode() if stat else b""
    if isinstance(node, File) and name == CACHED_BYTES:
        return str(await names.cached_bytes(node)).encode()
    return names.url(node).encode() if name == URL else _freshness(names, node, name)


def _freshness(names: Namespace, node: Node, name: bytes) -> bytes:
    freshness = freshness_of(node, names.asking)
    if name == STATE:
        return freshness.state.encode()
    if name == REASON:
        return freshness.reason.encode()
    if freshness.age_s is None:
        return b"0" if freshness.state == "fresh" else b""
    return b"%d" % freshness.age_s

"""The ``user.rangefs.*`` attributes of a file."""

from __future__ import annotations

from rangefs.fs.namespace import Namespace
from rangefs.fs.tree import File, Node

URL = b"user.rangefs.url"
VALIDATOR = b"user.rangefs.validator"
CACHED_BYTES = b"user.rangefs.cached_bytes"
STATE = b"user.rangefs.state"
XATTRS = (URL, VALIDATOR, CACHED_BYTES, STATE)


async def value_of(names: Namespace, node: Node, name: bytes) -> bytes | None:
    """The value, or None where a node has no such attribute. Never asks upstream."""
    if not isinstance(node, File) or name not in XATTRS:
        return None
    if name == URL:
        return names.url(node).encode()
    if name == VALIDATOR:
        stat = node.stat or await names.known(node)
        return stat.version.validator.encode() if stat else b""
    if name == CACHED_BYTES:
        return str(await names.cached_bytes(node)).encode()
    return names.state(node).encode()

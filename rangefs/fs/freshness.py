"""How far what is shown can be trusted to be what upstream has now: state, age and reason, for people."""

from __future__ import annotations

from dataclasses import dataclass

from rangefs.fs.asking import Asking
from rangefs.fs.tree import NEVER, File, Node

OFFLINE = "the mount is offline (--offline)"


@dataclass(frozen=True, slots=True)
class Freshness:
    """
    state   ``fresh``, ``stale`` (shown past its TTL because upstream fails) or ``offline``
    age_s   since upstream last said that it is so; None while fresh, and where that is not known
    reason  why it is not fresh; "" while it is
    """

    state: str
    age_s: float | None = None
    reason: str = ""


FRESH = Freshness("fresh")


def freshness_of(node: Node, asking: Asking) -> Freshness:
    """Of a file: its version's; before it was opened, and of a folder: its listing's. Asks nobody."""
    folder = node.parent if isinstance(node, File) else node
    if asking.offline:
        return Freshness("offline", _age_s(node, asking), OFFLINE)
    if not folder.stale and not (isinstance(node, File) and node.stale):
        return FRESH
    return Freshness("stale", _age_s(node, asking), asking.reason or asking.last_trouble or "upstream did not answer")


def _age_s(node: Node, asking: Asking) -> float | None:
    """A file that was pinned is as old as its last validation, or its folder's last listing if that is younger."""
    vouched_at = node.listed_at if not isinstance(node, File) else node.validated_at
    if isinstance(node, File) and not node.stale:
        vouched_at = max(vouched_at, node.parent.listed_at)
    return None if vouched_at == NEVER else max(0.0, asking.clock() - vouched_at)

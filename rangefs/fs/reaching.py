"""How a mount begins: upstream is asked once, and where it can't be reached the cache may stand in for it.

A refusal (no such folder, access denied, a page that is no listing) is final:
it is what a mistyped SOURCE gets. Silence is final only where the cache knows
nothing of the SOURCE: a listing that an earlier mount has kept shows that it
was right, and that there is something to serve until upstream comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from rangefs.core.entries import Listing
from rangefs.core.listing import kept
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import DeadlineExceeded, RangefsError, Unreachable
from rangefs.fs.asking import VALIDATE_S
from rangefs.sources.base import Source
from rangefs.sources.clock import since_boot
from rangefs.store.store import Store

ROOT = b""  # the root folder's key (`sources.base`)


@dataclass(frozen=True, slots=True)
class Reached:
    """What connecting has shown.

    absence   why upstream could not be reached, where the cache can stand in; None where it was reached
    root      the root's listing, where that has shown it
    asked_at  before it was asked for (`since_boot`)
    """

    absence: RangefsError | None
    root: Listing | None
    asked_at: float


async def reach(source: Source, store: Store, settings: UpstreamSettings) -> Reached:
    """Connect. Raises why that failed where the cache can't stand in, and every refusal."""
    known = await _is_known(store)
    patience_s = VALIDATE_S if known else settings.read_timeout_s
    asked_at = since_boot()
    try:
        return Reached(None, await _connect(source, patience_s), asked_at)
    except (Unreachable, DeadlineExceeded) as error:
        if not known:
            raise
        return Reached(error, None, asked_at)


async def _connect(source: Source, patience_s: float) -> Listing | None:
    with trio.move_on_after(patience_s):
        return await source.connect()
    raise DeadlineExceeded(f"{source.url(ROOT)}: no answer within {patience_s:g} s")


async def _is_known(store: Store) -> bool:
    """Has an earlier mount kept the root's listing? Without it nothing can be found by its name."""
    found = await store.load_listing(ROOT)
    return found is not None and kept.decode(found[0]) is not None

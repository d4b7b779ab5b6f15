"""How a mount begins: upstream is asked once, and where it can't be reached the cache may stand in for it.

A refusal (no such folder, access denied, a page that is no listing) is final:
it is what a mistyped SOURCE gets. Silence is final only where the cache knows
nothing of the SOURCE: a listing that an earlier mount has kept shows that it
was right, and that there is something to serve until upstream comes back.
"""

from __future__ import annotations

import trio

from rangefs.core.listing import kept
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import DeadlineExceeded, RangefsError, Unreachable
from rangefs.fs.asking import VALIDATE_S
from rangefs.sources.base import Source
from rangefs.store.store import Store

ROOT = b""  # the root folder's key (`sources.base`)


async def reach(source: Source, store: Store, settings: UpstreamSettings) -> RangefsError | None:
    """Connect. Returns why that failed, if the cache can stand in; raises it if not, and every refusal."""
    known = await _is_known(store)
    patience_s = VALIDATE_S if known else settings.read_timeout_s
    try:
        await _connect(source, patience_s)
    except (Unreachable, DeadlineExceeded) as error:
        if not known:
            raise
        return error
    return None


async def _connect(source: Source, patience_s: float) -> None:
    with trio.move_on_after(patience_s):
        await source.connect()
        return
    raise DeadlineExceeded(f"{source.url(ROOT)}: no answer within {patience_s:g} s")


async def _is_known(store: Store) -> bool:
    """Has an earlier mount kept the root's listing? Without it nothing can be found by its name."""
    found = await store.load_listing(ROOT)
    return found is not None and kept.decode(found[0]) is not None

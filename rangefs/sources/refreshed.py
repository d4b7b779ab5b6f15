"""Secrets that expire: fetched by a blocking call in a worker thread, in time, once for all who wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from rangefs.errors import RangefsError
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.urls import Origin, Url

# Fetched anew so long before it expires, or at half of what is left where that is sooner: clocks differ, and requests
# are queued. Google's and Azure's own libraries take 4 to 5 minutes.
MARGIN_S = 300.0
# After a failure, while the old value is still good, wait so long before the next try.
AGAIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Expiring:
    """Headers that prove who we are, good until `expires_at` (seconds since the epoch)."""

    headers: Mapping[str, str]
    expires_at: float

    def __repr__(self) -> str:
        return f"Expiring(expires_at={self.expires_at})"


class Refreshed:
    """Headers that are always good for a while yet.

    fetch  asks for new ones; blocks, runs in a worker thread. Its `RangefsError` is raised to all who wait for it
    clock  seconds since the epoch
    """

    def __init__(self, fetch: Callable[[], Expiring], clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._current: Expiring | None = None
        self._refresh_at = float("-inf")
        self._lock = trio.Lock()

    async def headers(self) -> Mapping[str, str]:
        """What to send now. Cancelled: the fetch goes on in its thread, and its result is dropped."""
        while self._current is None or self._clock() >= self._refresh_at:
            async with self._lock:
                if self._current is None or self._clock() >= self._refresh_at:  # not by who held the lock before
                    await self._refresh()
        return self._current.headers

    async def renew(self, refused: Mapping[str, str]) -> bool:
        """What was sent was not taken: are there other headers now?"""
        async with self._lock:
            if self._current is not None and self._current.headers == refused:
                self._refresh_at = self._clock()
                await self._refresh()
        return self._current is not None and self._current.headers != refused

    async def _refresh(self) -> None:
        try:
            self._current = await trio.to_thread.run_sync(self._fetch, abandon_on_cancel=True)
        except RangefsError:
            now = self._clock()
            if self._current is None or now >= self._current.expires_at:
                raise
            self._refresh_at = min(now + AGAIN_S, self._current.expires_at)
            return
        now = self._clock()
        left_s = self._current.expires_at - now
        self._refresh_at = max(self._current.expires_at - min(MARGIN_S, left_s / 2), now + 1.0)


class TokenBearer:
    """`exchange.Bearer` with headers that expire, beside what the settings' files say, for one origin.

    settled  the headers of the settings, for the same origin
    """

    def __init__(self, settled: Credentials, origin: Origin, identity: str, fetch: Callable[[], Expiring]) -> None:
        self.identity = identity
        self._settled = settled
        self._origin = origin
        self._tokens = Refreshed(fetch)
        self._sent: Mapping[str, str] = {}

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        """Nothing for any other origin. Raises `Denied` where no credentials can be had."""
        if url.origin != self._origin:
            return []
        self._sent = await self._tokens.headers()
        return [*await self._settled.headers_for(method, url, headers), *self._sent.items()]

    async def renew(self, refusal: Refusal) -> bool:
        """After a 401 (a token revoked before its time): is there another one?"""
        return refusal.status == 401 and await self._tokens.renew(self._sent)

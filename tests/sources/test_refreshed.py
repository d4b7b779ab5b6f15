"""Tokens are renewed before they expire, once for all who wait; a failed renewal is none while one is good."""

from __future__ import annotations

import pytest
import trio

from rangefs.core.settings import UpstreamSettings
from rangefs.errors import Denied
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.refreshed import MARGIN_S, Expiring, Refreshed, TokenBearer
from rangefs.sources.urls import Origin, Url

LIFE_S = 3600.0


class Issuer:
    """Gives out numbered tokens of an hour, at the time it is told."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.issued = 0
        self.broken = False

    def fetch(self) -> Expiring:
        if self.broken:
            raise Denied("the issuer is broken")
        self.issued += 1
        return Expiring({"authorization": f"Bearer {self.issued}"}, self.now + LIFE_S)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


async def test_one_fetch_serves_all_who_wait(issuer: Issuer) -> None:
    tokens = Refreshed(issuer.fetch, issuer.clock)
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(tokens.headers)
    assert issuer.issued == 1


async def test_a_token_is_renewed_before_it_expires_and_not_long_before(issuer: Issuer) -> None:
    tokens = Refreshed(issuer.fetch, issuer.clock)
    await tokens.headers()
    issuer.now += LIFE_S - MARGIN_S - 1
    assert await tokens.headers() == {"authorization": "Bearer 1"}
    issuer.now += 2
    assert await tokens.headers() == {"authorization": "Bearer 2"}


async def test_a_failed_renewal_is_none_while_the_token_is_good(issuer: Issuer) -> None:
    tokens = Refreshed(issuer.fetch, issuer.clock)
    await tokens.headers()
    issuer.broken = True
    issuer.now += LIFE_S - 1
    assert await tokens.headers() == {"authorization": "Bearer 1"}
    issuer.now += 2
    with pytest.raises(Denied, match="broken"):
        await tokens.headers()
    issuer.broken = False
    assert await tokens.headers() == {"authorization": "Bearer 2"}


async def test_a_refused_token_is_renewed_once_for_all_who_were_refused(issuer: Issuer) -> None:
    origin = Origin("https", "store.example", 443)
    bearer = TokenBearer(Credentials(UpstreamSettings(), origin), origin, "someone", issuer.fetch)
    url = Url(origin, b"/")
    assert await bearer.headers_for("GET", url, {}) == [("authorization", "Bearer 1")]
    assert not await bearer.renew(Refusal(403, {}, None)), "another token of the same bearer may do no more"
    assert await bearer.renew(Refusal(401, {}, None))
    assert await bearer.headers_for("GET", url, {}) == [("authorization", "Bearer 2")]


async def test_no_other_origin_is_told(issuer: Issuer) -> None:
    origin = Origin("https", "store.example", 443)
    bearer = TokenBearer(Credentials(UpstreamSettings(), origin), origin, "someone", issuer.fetch)
    for other in (Origin("http", "store.example", 80), Origin("https", "evil.example", 443)):
        assert await bearer.headers_for("GET", Url(other, b"/"), {}) == []
    assert issuer.issued == 0


def test_a_token_is_not_in_its_repr(issuer: Issuer) -> None:
    assert "Bearer" not in repr(issuer.fetch())

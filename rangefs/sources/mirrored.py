"""Opens SOURCE with its mirrors, each with what it may know of us."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rangefs.core.failover import Roster
from rangefs.core.figures import PartFigures, UpstreamFigures
from rangefs.core.joining import PRIMARY
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import UsageError
from rangefs.sources.bandwidth import Bandwidth
from rangefs.sources.base import Finder, Source
from rangefs.sources.mirrors import FindingMirrors, Mirrors
from rangefs.sources.registry import open_source
from rangefs.sources.upstream import Upstream
from rangefs.sources.urls import parse_url


def open_mirrored(spec: str, mirrors: Iterable[str], settings: UpstreamSettings, figures: UpstreamFigures) -> Source:
    """The source that `spec` names, with its mirrors where there are any; not yet connected. Raises `UsageError`."""
    specs = [spec, *mirrors]
    if len(specs) == 1:
        return open_source(spec, settings, figures)
    roster = Roster(len(specs))
    upstreams = []
    for number, one in enumerate(specs):
        if one.startswith("catalog+"):
            raise UsageError("a catalog names the mirrors of its files itself: no --mirror with it, nor as one")
        own = PartFigures(figures)
        source = open_source(one, _settings_of(one, spec, settings), own)
        upstreams.append(Upstream(number, one, source, own, roster.healths[number]))
    kind = FindingMirrors if isinstance(upstreams[PRIMARY].source, Finder) else Mirrors
    return kind(upstreams, roster, Bandwidth(settings.bwlimit_bytes_s))


def _settings_of(spec: str, primary: str, settings: UpstreamSettings) -> UpstreamSettings:
    """What the origin of `spec` may know of us: secrets and headers were given for the primary's origin alone.

    The limit on bandwidth is for all of them together: it is not theirs to keep.
    """
    settings = replace(settings, bwlimit_bytes_s=None)
    if _place(spec, settings) == _place(primary, settings):
        return settings
    return replace(settings, headers=(), header_file=None, bearer_token_file=None, client_cert=None, stranger=True)


def _place(spec: str, settings: UpstreamSettings) -> str:
    """Equal for two URLs of one origin: that of the store's address where that is given, else of the URL itself."""
    scheme, _, rest = spec.partition("://")
    scheme = scheme.lower()
    if scheme.startswith(("http", "webdav")):
        secure = scheme in ("https", "webdavs")
        return str(parse_url(f"http{'s' * secure}://{rest}").origin)
    return f"{scheme}://{settings.endpoint_url or rest.partition('/')[0]}"

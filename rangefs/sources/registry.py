"""Which module speaks to which kind of SOURCE."""

from __future__ import annotations

from collections.abc import Callable

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import UsageError
from rangefs.sources.azure import AzureSource
from rangefs.sources.base import Source
from rangefs.sources.catalog import CatalogSource
from rangefs.sources.gcs import GcsSource
from rangefs.sources.web import WebSource
from rangefs.sources.webdav import WebDavSource


def _s3(spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> Source:
    """Imported when asked for: botocore takes a quarter of a second, and may not be there."""
    try:
        from rangefs.sources.s3 import S3Source
    except ModuleNotFoundError as error:
        raise UsageError(f"s3:// needs {error.name}, which comes with: pip install 'rangefs[s3]'") from error
    return S3Source(spec, settings, figures)


_SOURCES: dict[str, Callable[[str, UpstreamSettings, UpstreamFigures], Source]] = {
    "http": WebSource,
    "https": WebSource,
    "gs": GcsSource,
    "az": AzureSource,
    "catalog+http": CatalogSource,
    "catalog+https": CatalogSource,
    "catalog+file": CatalogSource,
    "s3": _s3,
    "webdav": WebDavSource,
    "webdavs": WebDavSource,
}


def open_source(spec: str, settings: UpstreamSettings, figures: UpstreamFigures) -> Source:
    """The source that `spec` names, not yet connected. Raises `UsageError` for what we can't speak to."""
    scheme, separator, _ = spec.partition("://")
    kind = _SOURCES.get(scheme.lower())
    if not separator or kind is None:
        known = ", ".join(f"{name}://" for name in sorted(_SOURCES))
        raise UsageError(f"SOURCE must begin with one of {known}")
    return kind(spec, settings, figures)

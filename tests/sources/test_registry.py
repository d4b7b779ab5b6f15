"""SOURCE to module."""

from __future__ import annotations

import pytest

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.errors import UsageError
from rangefs.sources.registry import open_source
from rangefs.sources.web import WebSource


@pytest.mark.parametrize("spec", ["http://host/", "https://host/file.bin", "HTTP://HOST"])
def test_web_urls_are_web_sources(spec: str) -> None:
    assert isinstance(open_source(spec, UpstreamSettings(), UpstreamFigures()), WebSource)


@pytest.mark.parametrize("spec", ["", "/etc", "host/path", "gopher://host/", "http:/host", "file:///etc/passwd"])
def test_what_we_cannot_speak_to_is_a_usage_error_that_says_what_we_can(spec: str) -> None:
    with pytest.raises(UsageError, match="http://"):
        open_source(spec, UpstreamSettings(), UpstreamFigures())


def test_a_folder_has_no_query() -> None:
    with pytest.raises(UsageError, match="no '\\?'"):
        open_source("http://host/folder/?token=1", UpstreamSettings(), UpstreamFigures())

"""A WebDAV folder: the answer to PROPFIND with ``Depth: 1`` (RFC 4918 sections 9.1, 14.16, 14.24)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.folder import FolderBuilder
from rangefs.core.listing.links import Place, Target, Where
from rangefs.core.listing.moments import SECOND_NS, http_ns
from rangefs.core.listing.objects import quoted_etag, size_of
from rangefs.core.listing.xml import read_xml, without_controls
from rangefs.errors import NotADirectory, NotAListing

_ORIGIN = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/]*")
_COLLECTION = "a collection"  # no property has a space in its name


@dataclass(slots=True)
class _Resource:
    href: bytes = b""
    gone: bool = False
    properties: dict[str, str] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return _COLLECTION in self.properties


def parse_multistatus(body: bytes, url: str, folder: bytes) -> Listing:
    """The folder at `url` (after redirects, its path ending in ``/``), whose key is `folder`.

    Hrefs may be paths or whole URLs; only their paths count, as servers behind a proxy name themselves wrongly.
    Raises `NotAListing` where the document is none, or says nothing about this folder (an answer about other paths
    must not look like an empty folder), and `NotADirectory` where it says that this is a file.
    """
    place = Place(url)
    builder = FolderBuilder()
    itself: _Resource | None = None
    children = 0
    for resource in _resources(body):
        target = place.target(_ORIGIN.sub(b"", resource.href, count=1) or b"/")
        if target.where is Where.SELF:
            itself = resource
        elif target.where is Where.CHILD and not resource.gone:
            children += 1
            _add(builder, resource, target, folder)
        elif target.where is Where.REFUSED:
            builder.refuse()
    if not children and (itself is None or itself.gone):
        raise NotAListing("the server's answer is about other paths than the folder that was asked for")
    if not children and itself is not None and not itself.is_folder:
        raise NotADirectory("the server has a file there, not a folder")
    return builder.build()


def _add(builder: FolderBuilder, resource: _Resource, target: Target, folder: bytes) -> None:
    component = target.component.removesuffix(b"/")
    if "\ufffd".encode() in component:
        builder.refuse()  # its bytes were no UTF-8, and are lost
        return
    kind = Kind.FOLDER if resource.is_folder else Kind.FILE
    given = resource.properties
    builder.add(
        unquote_to_bytes(component),
        kind,
        folder + component + (b"/" if kind is Kind.FOLDER else b""),
        size=size_of(given.get("getcontentlength", "").strip()),
        mtime_ns=http_ns(given.get("getlastmodified", "").encode()),
        mtime_precision_ns=SECOND_NS,
        etag=quoted_etag(given.get("getetag", "")),
    )


def _resources(body: bytes) -> list[_Resource]:
    resources: list[_Resource] = []
    current = _Resource()
    found: dict[str, str] = {}
    status = ""

    def element(path: list[str], attributes: Mapping[str, str], text: str) -> None:
        nonlocal current, found, status
        match path[1:]:
            case ["response", "href"]:
                current.href = current.href or text.strip().encode()
            case ["response", "status"]:
                current.gone = not _is_ok(text)
            case ["response", "propstat", "prop", "resourcetype", "collection"]:
                found[_COLLECTION] = ""
            case ["response", "propstat", "prop", name]:
                found[name] = text
            case ["response", "propstat", "status"]:
                status = text
            case ["response", "propstat"]:
                if _is_ok(status):
                    current.properties |= found
                found, status = {}, ""
            case ["response"]:
                resources.append(current)
                current = _Resource()

    read_xml(without_controls(body), {"multistatus"}, element)
    return resources


def _is_ok(status: str) -> bool:
    """Is ``HTTP/1.1 200 OK`` a success? A missing status is: some servers leave it out."""
    words = status.split()
    return len(words) < 2 or words[1] == "200"

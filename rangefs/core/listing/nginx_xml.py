"""nginx's ``autoindex_format xml``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.folder import FolderBuilder
from rangefs.core.listing.moments import SECOND_NS, iso_ns
from rangefs.core.listing.xml import read_xml
from rangefs.errors import NotAListing

_KINDS = {"file": Kind.FILE, "directory": Kind.FOLDER}


def parse_nginx_xml(body: bytes, folder: bytes) -> Listing:
    """The entries of ``<list>``. A folder with a name that is no UTF-8 makes nginx's XML unreadable: `NotAListing`."""
    builder = FolderBuilder()
    path: list[str] = []
    attributes: Mapping[str, str] = {}

    def start(name: str, given: Mapping[str, str]) -> None:
        nonlocal attributes
        if not path and name.endswith("ListBucketResult"):
            raise NotAListing("the answer is an object store's listing: mount it by its s3:// or gs:// name")
        if not path and name != "list":
            raise NotAListing("the answer is XML, but no directory listing")
        path.append(name)
        attributes = given

    def end(name: str, text: str) -> None:
        path.pop()
        if len(path) != 1 or name not in _KINDS:
            return
        kind = _KINDS[name]
        raw = text.encode()
        size = attributes.get("size", "")
        builder.add(
            raw,
            kind,
            folder + quote(raw, safe="").encode() + (b"/" if kind is Kind.FOLDER else b""),
            size=int(size) if size.isdecimal() and size.isascii() and len(size) < 20 else None,
            mtime_ns=iso_ns(attributes.get("mtime", "").encode()),
            mtime_precision_ns=SECOND_NS,
        )

    read_xml(body, start, end)
    return builder.build()

"""nginx's ``autoindex_format xml``."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.folder import FolderBuilder
from rangefs.core.listing.moments import SECOND_NS, iso_ns
from rangefs.core.listing.objects import size_of
from rangefs.core.listing.xml import read_xml
from rangefs.errors import NotAListing

_KINDS = {"file": Kind.FILE, "directory": Kind.FOLDER}
_STORES = {"ListBucketResult": "s3:// or gs://", "EnumerationResults": "az://", "multistatus": "webdav://"}


def parse_nginx_xml(body: bytes, folder: bytes) -> Listing:
    """The entries of ``<list>``. A folder with a name that is no UTF-8 makes nginx's XML unreadable: `NotAListing`."""
    builder = FolderBuilder()

    def element(path: list[str], attributes: Mapping[str, str], text: str) -> None:
        if path[0] in _STORES:
            raise NotAListing(f"the answer is an object store's listing: mount it by its {_STORES[path[0]]} name")
        if len(path) != 2 or path[1] not in _KINDS:
            return
        kind = _KINDS[path[1]]
        raw = text.encode()
        builder.add(
            raw,
            kind,
            folder + quote(raw, safe="").encode() + (b"/" if kind is Kind.FOLDER else b""),
            size=size_of(attributes.get("size", "")),
            mtime_ns=iso_ns(attributes.get("mtime", "").encode()),
            mtime_precision_ns=SECOND_NS,
        )

    read_xml(body, {"list", *_STORES}, element)
    return builder.build()

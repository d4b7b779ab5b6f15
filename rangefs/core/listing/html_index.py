"""An HTML index page of any web server, as a `Listing`."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote_to_bytes

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing import signs
from rangefs.core.listing.columns import ColumnReader, Columns
from rangefs.core.listing.folder import CADDY_CUTS_AT, FolderBuilder
from rangefs.core.listing.links import Place, Where
from rangefs.core.listing.markup import Page, read_page
from rangefs.core.listing.signs import Link

_HEAD_BYTES = 4096
_FOOT_BYTES = 32768  # Caddy's logo and scripts stand below its "Served with"
_CADDY = b'href="https://caddyserver.com"'
# Python's http.server quotes what is no UTF-8 as surrogates: %ED%B3%BF is the byte FF, and nothing else can be.
_PYTHON_SURROGATE = re.compile(rb"\xed([\xb2\xb3])([\x80-\xbf])")


def parse_html(body: bytes, place: Place, folder: bytes) -> Listing:
    """The entries of the page `body` at `place`. Raises `NotAListing`, `TooLarge`."""
    page = read_page(body)
    if page.base_href is not None:
        place.rebase(page.base_href)
    links = [Link(anchor, place.target(anchor.href)) for anchor in page.anchors]
    signs.check(page, place, links)
    return _listing(page, links, folder)


def _listing(page: Page, links: list[Link], folder: bytes) -> Listing:
    builder = FolderBuilder()
    builder.refuse(sum(link.target.where is Where.REFUSED for link in links))
    entries = _merged([link for link in links if link.target.where is Where.CHILD])
    if not entries:
        return builder.build()
    head = page.body[max(0, entries[0].anchor.start - _HEAD_BYTES) : entries[0].anchor.start]
    columns = ColumnReader(head, page.body[-_FOOT_BYTES:])
    by_python = page.title.startswith(b"Directory listing for ")
    for link in entries:
        component = link.target.component
        beside: Columns = columns.read(page.beside(link.anchor))
        name = unquote_to_bytes(component.removesuffix(b"/"))
        builder.add(
            _PYTHON_SURROGATE.sub(_surrogate_byte, name) if by_python else name,
            Kind.FOLDER if component.endswith(b"/") else Kind.FILE,
            folder + component,
            size=beside.size,
            mtime_ns=beside.mtime_ns,
            mtime_precision_ns=beside.mtime_precision_ns,
        )
    listing = builder.build(CADDY_CUTS_AT if _CADDY in page.body[-_FOOT_BYTES:] else None)
    marked = not columns.unmarked or any(entry.kind is Kind.FOLDER for entry in listing.entries)
    return listing if marked else replace(listing, unmarked=True)


def _merged(entries: list[Link]) -> list[Link]:
    """Neighbours that lead to the same place (an icon and a name) as one; no entry's row reaches into the next."""
    merged: list[Link] = []
    for link in entries:
        if merged and merged[-1].target.component == link.target.component:
            merged[-1] = link
            continue
        if merged and link.anchor.start < merged[-1].anchor.end:
            merged[-1].anchor.end = link.anchor.start
        merged.append(link)
    return merged


def _surrogate_byte(found: re.Match[bytes]) -> bytes:
    return bytes([(found[1][0] & 0x03) << 6 | found[2][0] & 0x3F])

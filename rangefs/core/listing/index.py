"""What a web server answers for a folder, in whatever form, as a `Listing`."""

from __future__ import annotations

from rangefs.core.entries import Listing
from rangefs.core.listing.html_index import parse_html
from rangefs.core.listing.json_index import parse_json
from rangefs.core.listing.links import Place
from rangefs.core.listing.nginx_xml import parse_nginx_xml
from rangefs.errors import NotAListing, TooLarge

MAX_PAGE_BYTES = 64 << 20  #: some 600,000 entries of nginx's HTML; callers stop reading there too

_HTML = {"text/html", "application/xhtml+xml"}
_JSON = {"application/json", "text/json"}
_XML = {"text/xml", "application/xml"}


def parse_index(body: bytes, content_type: str, url: str, folder: bytes) -> Listing:
    """The folder that the page `body` lists.

    content_type  the header as it came, "" where there was none: the first byte decides then
    url           where the page came from in the end, as it was requested; its path ends in ``/``
    folder        the folder's key: ``b""`` for the mount's root, else ending in ``/``. An entry's key is this
                  plus one path component as the server spelled it (and ``/`` for a folder)

    Raises `NotAListing` where the page is anything else than an index that can be read (one line, no secrets),
    and `TooLarge` where it is over `MAX_PAGE_BYTES` or `folder.MAX_ENTRIES`. Times without a zone are read as
    UTC and marked as coarse: see `columns`. Linear in the page, about 11 µs an entry: a page of more than a few
    thousand entries is best parsed in a thread.
    """
    if len(body) > MAX_PAGE_BYTES:
        raise TooLarge(f"the folder's index page is over {MAX_PAGE_BYTES >> 20} MiB: mount a folder below it")
    media_type = content_type.partition(";")[0].strip().lower() or _sniffed(body)
    if media_type in _HTML:
        return parse_html(body, Place(url), folder)
    if media_type in _JSON:
        return parse_json(body, Place(url), folder)
    if media_type in _XML:
        return parse_nginx_xml(body, folder)
    raise NotAListing(f"the folder is answered with {_shown(media_type)}, which is no directory listing")


def _sniffed(body: bytes) -> str:
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:5].lower()
    if start == b"<?xml":
        return "text/xml"
    return {b"<": "text/html", b"[": "application/json"}.get(start[:1], "")


def _shown(media_type: str) -> str:
    return ascii(media_type[:60]).strip("'") if media_type else "no content type"

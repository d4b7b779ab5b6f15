"""Is an HTML page the index of its folder, or a page that stands in its place?

An index file, a login page or a portal that answers for a folder must not be
taken for a listing (the folder would look empty, or hold a few stray links),
yet listings of servers never heard of should be read. So, in this order:

1. **It says so.** The title or a heading is "Index of …", "Directory listing
   for …" and the like, or is the folder's own path (rclone, IIS, darkhttpd); or
   the markup is a known server's (Caddy, lighttpd). Such a page may be empty. If
   it has no entry at all, though, and no link to the parent folder, more than
   three links that lead elsewhere make it a page about something else.
2. **It looks so.** At least one link is an entry whose text is the entry's own
   name (perhaps cut off), and nine in ten of the entries are such. With a link
   to the parent folder whose text says so, a header and a footer may hold as
   many links that lead elsewhere as there are entries, or five. Without one,
   there is no prose (paragraphs, forms), and at most one link in ten, or one,
   leads elsewhere.
3. **It is bare.** The only links are sort links and one to the parent folder
   whose text says so: an empty folder.

A page whose entries would all be on another origin is refused with that as the
reason: it is what a proxied server with a wrong idea of its address sends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from rangefs.core.listing.links import Place, Target, Where
from rangefs.core.listing.markup import Anchor, Page
from rangefs.errors import NotAListing

_SAYS = re.compile(
    rb"\bindex\s+(?:of|for)\s*(?:/|\.{1,2}/|~|\S+/\s*\Z|\Z)"
    rb"|\A(?:directory\s+(?:listing|index|contents?)\b|(?:listing|contents)\s+of\s+directory|listing\s*(?:of|for|:)\s*\S*/"
    rb"|(?:ftp\s+)?directory:\s*(?:/|ftp:)|(?:folder|file)\s+listing|listing\s+directory\s+/|files\s+(?:within|in)\s+\S*/|simple\s+index\Z)",
    re.IGNORECASE,
)
_KNOWN_MARKUP = re.compile(
    rb'<table id="list"|summary="Directory Listing"|<div class=[\'"]listing[\'"]>|<table id="indexlist"|'
    rb'<div id="fallback"|<ul id="files"|class="directory-listing-table"',
    re.IGNORECASE,
)
_UP_TEXT = re.compile(
    rb"[^a-z.]*(?:\.\.?/?|parent\s*(?:dir(?:ectory)?|folder)?/?|(?:(?:to|go|one)\s+)*(?:up|parent)(?:\s[^<]{0,40})?)[^a-z.]*",
    re.IGNORECASE,
)
# All that Go's http.FileServer says of an empty folder.
_GO_EMPTY = re.compile(rb"\s*(?:<!doctype html>\s*<meta[^<>]*>\s*)?<pre>\s*</pre>\s*", re.IGNORECASE)
_CUT_OFF = (b"..>", b"...", "…".encode())
_UP_TEXT_BYTES = 100
_SPOKEN_BYTES = 200
_MARKUP_BYTES = 1 << 18  # style sheets come before it
_SAMPLE = 200  # entries looked at: enough to tell, and free on a large page
_MAX_STRAY_LINKS = 3


@dataclass(frozen=True, slots=True)
class Link:
    """An anchor of the page and where it leads."""

    anchor: Anchor
    target: Target


def check(page: Page, place: Place, links: list[Link]) -> None:
    """Raise `NotAListing`, saying why, unless `page` is an index of the folder at `place`."""
    count = dict.fromkeys(Where, 0)
    for link in links:
        count[link.target.where] += 1
    entries = count[Where.CHILD] + count[Where.REFUSED]
    if not entries and count[Where.MISPLACED]:
        raise NotAListing("the page's entries are links to another address: mount the address that they name")
    stray = count[Where.ELSEWHERE] + count[Where.NO_PLACE] + count[Where.MISPLACED]
    if _says_so(page, place):
        if not entries and stray > _MAX_STRAY_LINKS and not _leads_up(page, links):
            raise NotAListing("the page is titled like a listing, but none of its links is an entry of the folder")
    elif not (_looks_so(page, links, entries, stray) if entries else not stray and _leads_up(page, links)):
        raise NotAListing(
            "the page is not a directory listing: an index file, a login or another page stands in its place"
        )


def _says_so(page: Page, place: Place) -> bool:
    spoken = [page.title, *page.headings]
    if any(_SAYS.search(text[:_SPOKEN_BYTES]) or _is_path(text, place.path) for text in spoken):
        return True
    return bool(_KNOWN_MARKUP.search(page.body, 0, _MARKUP_BYTES) or _GO_EMPTY.fullmatch(page.body))


def _is_path(text: bytes, path: bytes) -> bool:
    """Is `text` the folder's path, with a slash to show for it, perhaps after a host's name (IIS)?"""
    whole = unquote_to_bytes(path)
    text = b" ".join(text.split())
    if text.endswith((b" - " + whole, b":/" if whole == b"/" else b" " + whole)):
        return True
    if not whole.strip(b"/"):
        return text == b"/"
    bare = whole.strip(b"/")
    return b"/" in text and text.strip(b"/") in (bare, bare.rpartition(b"/")[2])


def _looks_so(page: Page, links: list[Link], entries: int, stray: int) -> bool:
    if not _names_itself(page, links):
        return False
    if _leads_up(page, links):
        return stray <= max(5, entries)
    return not page.prose_tags and stray <= max(1, entries // 10)


def _names_itself(page: Page, links: list[Link]) -> bool:
    """Nine in ten of the entries have a link whose text is the entry's name (an icon may link there too)."""
    named: dict[bytes, bool] = {}
    for link in [link for link in links if link.target.where is Where.CHILD][:_SAMPLE]:
        component = link.target.component
        named[component] = named.get(component, False) or _text_is_name(page.text_of(link.anchor), component)
    return any(named.values()) and sum(named.values()) * 10 >= len(named) * 9


def _text_is_name(text: bytes, component: bytes) -> bool:
    name = unquote_to_bytes(component).rstrip(b"/").strip()
    text = text.rstrip(b"/").strip()
    if text in (name, component.rstrip(b"/")):
        return True
    for end in _CUT_OFF:
        if text.endswith(end) and (start := text.removesuffix(end).rstrip()):
            return name.startswith(start)
    return False


def _leads_up(page: Page, links: list[Link]) -> bool:
    """Is there a link to the parent folder that says so? (Breadcrumbs lead there too, by its name.)"""
    texts = (page.text_of(link.anchor) for link in links if link.target.where is Where.PARENT)
    return any(len(text) <= _UP_TEXT_BYTES and _UP_TEXT.fullmatch(text) for text in texts)

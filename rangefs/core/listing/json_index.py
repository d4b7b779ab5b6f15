"""JSON listings of web servers: nginx (``autoindex_format json``) and Caddy (``Accept: application/json``)."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from rangefs.core.entries import Kind, Listing
from rangefs.core.listing.folder import CADDY_CUTS_AT, MAX_ENTRIES, FolderBuilder
from rangefs.core.listing.links import Place, Where
from rangefs.core.listing.moments import SECOND_NS, http_ns, iso_ns
from rangefs.errors import NotAListing, TooLarge

# Values that a page may have: an entry of Caddy's has nine. Python's smallest take 60 bytes, so a page of 64 MiB that
# is nothing but brackets and commas would become 1.5 GB.
MAX_VALUES = 10 * MAX_ENTRIES


def parse_json(body: bytes, place: Place, folder: bytes) -> Listing:
    """The entries of nginx's or Caddy's array. nginx copies names of invalid UTF-8 into it as they are.

    Raises `NotAListing`, `TooLarge`.
    """
    if body.count(b"{") + body.count(b"[") + body.count(b",") > MAX_VALUES:
        raise TooLarge("the folder's JSON has more values than any listing: mount a folder below it")
    try:
        items = json.loads(body.decode("utf-8", "surrogateescape"), strict=False)
    except (ValueError, RecursionError) as error:
        raise NotAListing(f"the answer is not valid JSON: {type(error).__name__}") from error
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise NotAListing("the answer is JSON, but no directory listing")
    builder = FolderBuilder()
    cut_at = None
    for item in items:
        if isinstance(item.get("url"), str) and isinstance(item.get("is_dir"), bool):
            _add_caddy(builder, item, place, folder)
            cut_at = CADDY_CUTS_AT
        elif isinstance(item.get("name"), str) and isinstance(item.get("type"), str):
            _add_nginx(builder, item, folder)
        else:
            raise NotAListing("the answer is JSON, but no directory listing")
    return builder.build(cut_at)


def _add_nginx(builder: FolderBuilder, item: dict[str, Any], folder: bytes) -> None:
    kind = {"directory": Kind.FOLDER, "file": Kind.FILE}.get(item["type"])
    if kind is None:  # "other": a socket, a device, a dangling link
        return
    try:
        name = item["name"].encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        builder.refuse()
        return
    builder.add(
        name,
        kind,
        folder + quote(name, safe="").encode() + (b"/" if kind is Kind.FOLDER else b""),
        size=_size(item),
        mtime_ns=http_ns(_text(item, "mtime")),
        mtime_precision_ns=SECOND_NS,
    )


def _add_caddy(builder: FolderBuilder, item: dict[str, Any], place: Place, folder: bytes) -> None:
    target = place.target(item["url"].encode("utf-8", "surrogatepass"))
    if target.where is not Where.CHILD:
        builder.refuse()
        return
    component = target.component.removesuffix(b"/")
    is_folder = item["is_dir"]
    # The size is that of a link's target, the time that of the link itself: it is not what the file will have.
    mtime = b"" if item.get("is_symlink") is True else _text(item, "mod_time")
    builder.add(
        unquote_to_bytes(component),
        Kind.FOLDER if is_folder else Kind.FILE,
        folder + component + (b"/" if is_folder else b""),
        size=_size(item),
        mtime_ns=iso_ns(mtime),
    )


def _size(item: dict[str, Any]) -> int | None:
    size = item.get("size")
    return size if type(size) is int else None


def _text(item: dict[str, Any], field: str) -> bytes:
    value = item.get(field)
    return value.encode("ascii", "replace") if isinstance(value, str) else b""

"""Pages of Google Cloud Storage's JSON API (Objects: list)."""

from __future__ import annotations

from typing import Any

from rangefs.core.listing.moments import iso_ns
from rangefs.core.listing.objects import Page, StoredObject, json_object, size_of
from rangefs.errors import NotAListing


def parse_gcs_page(body: bytes) -> Page:
    """One page, whatever ``fields`` were asked for; an empty object is an empty page. Raises `NotAListing`.

    The validator is the generation, which names a version for good, not the ETag, which also changes with metadata.
    """
    document = json_object(body)
    items, prefixes = document.get("items", []), document.get("prefixes", [])
    token = document.get("nextPageToken", "")
    if "error" in document or not (isinstance(items, list) and isinstance(prefixes, list) and isinstance(token, str)):
        raise NotAListing("the answer is JSON, but no listing of a bucket")
    return Page(tuple(_object(item) for item in items), tuple(_key(prefix) for prefix in prefixes), token)


def _object(item: Any) -> StoredObject:
    if not isinstance(item, dict):
        raise NotAListing("the answer is JSON, but no listing of a bucket")

    def text(field: str) -> str:
        value = item.get(field, "")
        return value if isinstance(value, str) else str(value) if type(value) is int else ""

    return StoredObject(
        _key(item.get("name")),
        size_of(text("size")),
        iso_ns(text("updated").encode("ascii", "replace")),
        0,
        text("generation"),
        text("contentEncoding"),
    )


def _key(name: Any) -> bytes:
    if not isinstance(name, str):
        raise NotAListing("the bucket's listing has an entry without a name")
    return name.encode("utf-8", "surrogatepass")

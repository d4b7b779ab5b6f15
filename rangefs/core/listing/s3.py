"""Pages of S3's ListObjectsV2 (API Reference, "ListObjectsV2"), of AWS and of all that speak it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from rangefs.core.listing.moments import SECOND_NS, iso_ns
from rangefs.core.listing.objects import Page, StoredObject, quoted_etag, size_of
from rangefs.core.listing.xml import read_xml
from rangefs.errors import NotAListing


def parse_s3_page(body: bytes) -> Page:
    """One page, asked for with ``encoding-type=url`` or not: the answer's own EncodingType decides.

    A key with control characters makes the page unreadable unless it is url-encoded. Raises `NotAListing`, also
    where a page says that it is not the last and does not say how to go on: half a folder is none.
    """
    reader = _Reader()
    read_xml(body, {"ListBucketResult"}, reader.element)
    return reader.page()


class _Reader:
    """Gathers a page; keys are decoded at its end, as EncodingType may come after them."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._contents: list[dict[str, str]] = []
        self._current: dict[str, str] = {}
        self._prefixes: list[str] = []

    def element(self, path: list[str], attributes: Mapping[str, str], text: str) -> None:
        match path[1:]:
            case ["Contents", name]:
                self._current[name] = text
            case ["Contents"]:
                self._contents.append(self._current)
                self._current = {}
            case ["CommonPrefixes", "Prefix"]:
                self._prefixes.append(text)
            case [name]:
                self._fields[name] = text

    def page(self) -> Page:
        token = self._fields.get("NextContinuationToken", "")
        if not token and self._fields.get("IsTruncated", "").strip().lower() == "true":
            raise NotAListing("the store's listing is cut off and names no token to go on with")
        return Page(
            tuple(self._object(fields) for fields in self._contents),
            tuple(self._key(prefix) for prefix in self._prefixes),
            token,
        )

    def _object(self, fields: dict[str, str]) -> StoredObject:
        return StoredObject(
            self._key(fields.get("Key", "")),
            size_of(fields.get("Size", "")),
            iso_ns(fields.get("LastModified", "").encode()),
            SECOND_NS,  # answers have whole seconds, whatever fraction is listed
            quoted_etag(fields.get("ETag", "")),
        )

    def _key(self, text: str) -> bytes:
        if self._fields.get("EncodingType", "").strip().lower() != "url":
            return text.encode()
        return unquote_to_bytes(text.replace("+", " "))

"""Pages of Azure's List Blobs (Blob service REST API, "List Blobs")."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote_to_bytes

from rangefs.core.listing.moments import SECOND_NS, http_ns
from rangefs.core.listing.objects import Page, StoredObject, quoted_etag, size_of
from rangefs.core.listing.xml import read_xml


def parse_azure_page(body: bytes) -> Page:
    """One page. Names with ``Encoded="true"`` are percent-decoded, ETags get the quotes that answers have.

    The folders of a hierarchical namespace, listed as blobs, come out as prefixes. Raises `NotAListing`.
    """
    reader = _Reader()
    read_xml(body, {"EnumerationResults"}, reader.element)
    return Page(tuple(reader.objects), tuple(reader.prefixes), reader.next_token)


class _Reader:
    def __init__(self) -> None:
        self.objects: list[StoredObject] = []
        self.prefixes: list[bytes] = []
        self.next_token = ""
        self._key = b""
        self._properties: dict[str, str] = {}

    def element(self, path: list[str], attributes: Mapping[str, str], text: str) -> None:
        match path[1:]:
            case ["NextMarker"]:
                self.next_token = text
            case ["Blobs", "Blob" | "BlobPrefix", "Name"]:
                encoded = attributes.get("Encoded", "").lower() == "true"
                self._key = unquote_to_bytes(text) if encoded else text.encode()
            case ["Blobs", "Blob", "Properties" | "Metadata", name]:
                self._properties[name.lower()] = text
            case ["Blobs", "BlobPrefix"]:
                self.prefixes.append(self._key)
                self._properties = {}
            case ["Blobs", "Blob"]:
                self._blob()
                self._properties = {}

    def _blob(self) -> None:
        given = self._properties
        if given.get("resourcetype") == "directory" or given.get("hdi_isfolder", "").lower() == "true":
            self.prefixes.append(self._key.removesuffix(b"/") + b"/")
            return
        self.objects.append(
            StoredObject(
                self._key,
                size_of(given.get("content-length", "")),
                http_ns(given.get("last-modified", "").encode()),
                SECOND_NS,
                quoted_etag(given.get("etag", "")),
                given.get("content-encoding", ""),
            )
        )

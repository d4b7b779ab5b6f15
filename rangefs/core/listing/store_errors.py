"""A store's own words for an error: what a user searches the web for, and what the store's support asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rangefs.core.listing.objects import json_object
from rangefs.core.listing.xml import read_xml
from rangefs.errors import NotAListing

_MAX_TEXT = 300
_AZURE_ID = re.compile(r"RequestId:([0-9A-Za-z-]{1,64})")


@dataclass(frozen=True, slots=True)
class StoreError:
    """An error document's content, one line each, safe to log: nothing of the request is repeated.

    code        S3's and Azure's Code, GCS's reason: "NoSuchKey", "ContainerNotFound", "notFound"
    region      where S3 says that the bucket is, on a request to the wrong region
    """

    code: str
    message: str = ""
    request_id: str = ""
    region: str = ""


def parse_store_error(body: bytes) -> StoreError | None:
    """The error that `body` describes, in S3's, Azure's or GCS's form; None where it is none of them. Never raises."""
    start = body[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    try:
        if start == b"<":
            return _from_xml(body)
        return _from_json(body) if start == b"{" else None
    except NotAListing:
        return None


def _from_xml(body: bytes) -> StoreError | None:
    found: dict[str, str] = {}

    def element(path: list[str], attributes: Mapping[str, str], text: str) -> None:
        if path[-1] in ("Code", "Message", "RequestId", "Region"):
            found.setdefault(path[-1], text)

    read_xml(body, {"Error", "ErrorResponse"}, element)
    if not found.get("Code"):
        return None
    message = found.get("Message", "")
    azure_id = _AZURE_ID.search(message)
    return StoreError(
        _line(found["Code"]),
        _line(message.partition("\n")[0] if azure_id else message),
        _line(found.get("RequestId", "") or (azure_id[1] if azure_id else "")),
        _line(found.get("Region", "")),
    )


def _from_json(body: bytes) -> StoreError | None:
    error = json_object(body).get("error")
    if not isinstance(error, dict):
        return None
    details = error.get("errors")
    first = details[0] if isinstance(details, list) and details and isinstance(details[0], dict) else {}
    code = first.get("reason") or error.get("status") or error.get("code")
    return StoreError(_line(str(code)), _line(str(error.get("message", "")))) if code else None


def _line(text: str) -> str:
    """`text` as one printable line of bounded length."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[:_MAX_TEXT]).split())

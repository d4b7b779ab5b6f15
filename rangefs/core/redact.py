"""Secrets out of what is logged, printed or kept: URLs and header fields."""

from __future__ import annotations

import re

HIDDEN = "REDACTED"

# Query fields that sign or authorise (SEMANTICS section 7): S3 and GCS presigned, Azure SAS, and the usual names.
_SECRET_FIELD = re.compile(
    r"([?&;])("
    r"sig|signature|x-amz-[^=&;]*|x-goog-[^=&;]*|awsaccesskeyid|googleaccessid|policy|key-pair-id"
    r"|[^=&;]*(?:token|secret|password|passwd|credential|api[-_]?key|access[-_]?key|auth|session)[^=&;]*|key|jwt|code"
    r")=[^&;#]*",
    re.IGNORECASE,
)
_USERINFO = re.compile(r"(://)[^/?#@]*@")
_SECRET_HEADER = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie2?|.*(?:token|secret|password|api[-_]?key|access[-_]?key|credential).*",
    re.IGNORECASE,
)


def redact_url(url: str) -> str:
    """`url` without userinfo and with the values of secret query fields replaced; the rest as it stands."""
    return _SECRET_FIELD.sub(rf"\1\2={HIDDEN}", _USERINFO.sub(r"\1", url))


def is_secret_header(name: str) -> bool:
    """Must the value of the header `name` never be shown, nor come from a command line?"""
    return _SECRET_HEADER.fullmatch(name.strip()) is not None

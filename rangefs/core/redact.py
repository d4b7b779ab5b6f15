"""Secrets out of what is logged, printed or kept: URLs and header fields.

Linear in the length of what it reads: some of that comes from strangers.
"""

from __future__ import annotations

import re

HIDDEN = "REDACTED"

# Query fields that sign or authorise (SEMANTICS section 7): S3 and GCS presigned, Azure SAS, and the usual names.
_SECRET_FIELDS = frozenset(
    {"sig", "signature", "awsaccesskeyid", "googleaccessid", "policy", "key-pair-id", "key", "jwt", "code"}
)
_SECRET_PREFIXES = ("x-amz-", "x-goog-")
_SECRET_WORDS = (
    *("token", "secret", "password", "passwd", "credential", "auth", "session"),
    *("api-key", "api_key", "apikey", "access-key", "access_key", "accesskey"),
)
_SEPARATORS = re.compile(r"([?&;#])")


def redact_url(url: str) -> str:
    """`url` without userinfo and with the values of secret query fields replaced; the rest as it stands."""
    location, *query = _SEPARATORS.split(url)
    scheme, mark, rest = location.partition("://")
    if mark:
        authority, slash, path = rest.partition("/")
        location = f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"
    return location + "".join(map(_redact_field, query))


def _redact_field(field: str) -> str:
    name, equals, _ = field.partition("=")
    return f"{name}={HIDDEN}" if equals and _is_secret_field(name.lower()) else field


def _is_secret_field(name: str) -> bool:
    return name in _SECRET_FIELDS or name.startswith(_SECRET_PREFIXES) or any(word in name for word in _SECRET_WORDS)


def is_secret_header(name: str) -> bool:
    """Must the value of the header `name` never be shown, nor come from a command line?"""
    name = name.strip().lower()
    if name in {"cookie", "cookie2", "set-cookie", "set-cookie2"} or name.endswith("authorization"):
        return True
    return any(word in name for word in _SECRET_WORDS if word not in ("auth", "session"))

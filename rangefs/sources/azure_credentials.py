"""Who we are to Azure: the first of these that is there, none of which is ever on a command line.

``--anonymous``; ``--bearer-token-file`` or ``--header-file``; a SAS in the file AZURE_STORAGE_SAS_TOKEN_FILE or in
AZURE_STORAGE_SAS_TOKEN; the account's key in AZURE_STORAGE_KEY; AZURE_STORAGE_CONNECTION_STRING, with either; else
azure-identity's DefaultAzureCredential (environment, workload and managed identity, the ``az`` command's login).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from urllib.parse import unquote

import trio

from rangefs.core.settings import UpstreamSettings
from rangefs.errors import UsageError
from rangefs.sources.credentials import LOOK_AGAIN_S, Bearer, Credentials, Refusal, read_secret, stamp_of
from rangefs.sources.urls import Origin, Url, parse_url

API_VERSION = "2021-12-02"  #: encoded names in listings; SAS and shared keys as they are since 2015
_SAS = re.compile(r"\??[\x21-\x7e]*\bsig=[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class AzureAccount:
    """Where an account is, and how we speak to it.

    endpoint  of its blobs, without a final slash
    sas       what every query ends with, None where none does
    """

    endpoint: Url
    bearer: Bearer
    sas: Sas | None = None


def account_of(name: str, settings: UpstreamSettings, environment: Mapping[str, str] = os.environ) -> AzureAccount:
    """The account `name` as settings and environment have it. Raises `UsageError`, without any secret."""
    connection = _connection_string(environment.get("AZURE_STORAGE_CONNECTION_STRING", ""), name)
    endpoint = _endpoint(name, settings.endpoint_url or connection.get("blobendpoint"), connection)
    settled = Credentials(settings, endpoint.origin)
    if settings.anonymous or settled.authorizes:
        return AzureAccount(endpoint, settled)
    settled_only = _environment_is_for(name, environment)
    sas = _sas(environment if settled_only else {}, connection)
    if sas is not None:
        settled.require_privacy()
        return AzureAccount(endpoint, settled, sas)
    key = (environment.get("AZURE_STORAGE_KEY", "") if settled_only else "") or connection.get("accountkey", "")
    if key:
        return AzureAccount(endpoint, SharedKey(settled, endpoint.origin, name, key))
    settled.require_privacy()
    try:
        from rangefs.sources.entra import entra_bearer
    except ImportError as error:
        raise UsageError(
            f"az:// needs {error.name or 'azure-identity'} to sign in, which comes with: pip install 'rangefs[azure]' "
            "(or use --anonymous, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN)"
        ) from error
    return AzureAccount(endpoint, entra_bearer(settled, endpoint.origin))


def _environment_is_for(name: str, environment: Mapping[str, str]) -> bool:
    """The az command's variables are for one account, where they say which."""
    return environment.get("AZURE_STORAGE_ACCOUNT", name) == name


def _endpoint(name: str, given: str | None, connection: Mapping[str, str]) -> Url:
    """The blob service of the account. An address alone (Azurite's) gets the account as its first folder."""
    if not given:
        suffix = connection.get("endpointsuffix", "core.windows.net")
        return parse_url(f"{connection.get('defaultendpointsprotocol', 'https')}://{name}.blob.{suffix}/")
    url = parse_url(given)
    path = url.path.rstrip(b"/")
    if url.origin.host.startswith(f"{name}.") or path.endswith(f"/{name}".encode()):
        return Url(url.origin, path)
    return Url(url.origin, path + f"/{name}".encode())


def _connection_string(text: str, name: str) -> Mapping[str, str]:
    """``Name=value;…`` with lower-case names; nothing where it is for another account."""
    if not text:
        return {}
    pairs = [part.partition("=") for part in text.split(";") if part.strip()]
    if not all(mark for _, mark, _ in pairs):
        raise UsageError("AZURE_STORAGE_CONNECTION_STRING is none: expected Name=value;Name=value")
    fields = {key.strip().lower(): value.strip() for key, _, value in pairs}
    return fields if fields.get("accountname", name) == name else {}


# -- shared access signatures ----------------------------------------------------


class Sas:
    """A signature that goes into each query; read again when its file changes.

    Raises `UsageError` at once for what is none, or can be read by others.
    """

    def __init__(self, text: str, path: Path | None) -> None:
        self._path = path
        self._query = _checked_sas(text)
        self._stamp = stamp_of(path) if path else None
        self._looked_at = float("-inf")

    async def query(self) -> bytes:
        """Without the question mark. Cancelled: nothing is lost."""
        if self._path is not None and trio.current_time() - self._looked_at >= LOOK_AGAIN_S:
            await self._look_again(self._path)
        return self._query

    async def renew(self) -> bool:
        """After a 403: is there another one in the file?"""
        before = self._query
        if self._path is not None:
            await self._look_again(self._path)
        return self._query != before

    async def _look_again(self, path: Path) -> None:
        self._looked_at = trio.current_time()
        stamp = await trio.to_thread.run_sync(stamp_of, path)
        if stamp is not None and stamp != self._stamp:
            self._query = _checked_sas(await trio.to_thread.run_sync(read_secret, path))
            self._stamp = stamp


def _sas(environment: Mapping[str, str], connection: Mapping[str, str]) -> Sas | None:
    if name := environment.get("AZURE_STORAGE_SAS_TOKEN_FILE"):
        return Sas(read_secret(Path(name)), Path(name))
    text = environment.get("AZURE_STORAGE_SAS_TOKEN") or connection.get("sharedaccesssignature")
    return Sas(text, None) if text else None


def _checked_sas(text: str) -> bytes:
    text = text.strip()
    if not _SAS.fullmatch(text):
        raise UsageError("the shared access signature is none: expected sv=…&sig=…")
    return text.removeprefix("?").encode()


# -- the account's key -----------------------------------------------------------


class SharedKey:
    """Signs each request with the account's key ("Authorize with Shared Key"; versions since 2015-02-21)."""

    def __init__(self, settled: Credentials, origin: Origin, account: str, key: str) -> None:
        try:
            self._key = base64.b64decode(key, validate=True)
        except (binascii.Error, ValueError):
            raise UsageError("the storage account's key is none: expected base64, as the portal shows it") from None
        self._settled = settled
        self._origin = origin
        self._account = account

    def __repr__(self) -> str:
        return f"<SharedKey of {self._account}>"

    @property
    def identity(self) -> str:
        return f"the key of {self._account}"

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        if url.origin != self._origin:
            return []
        settled = await self._settled.headers_for(method, url, headers)
        added = {"x-ms-date": formatdate(usegmt=True)}
        text = string_to_sign(method, url, {**headers, **dict(settled), **added}, self._account)
        signature = base64.b64encode(hmac.digest(self._key, text.encode(), hashlib.sha256)).decode()
        return [*settled, *added.items(), ("authorization", f"SharedKey {self._account}:{signature}")]

    async def renew(self, refusal: Refusal) -> bool:
        return False  # a key does not expire


_SIGNED = (
    "content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
    "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range",
)  # fmt: skip


def string_to_sign(method: str, url: Url, headers: Mapping[str, str], account: str) -> str:
    """What the signature is over: the method, these headers, all x-ms- headers, the path, the decoded query."""
    named = {name.lower(): " ".join(value.split()) for name, value in headers.items()}
    lines = [method, *(named.get(name, "") for name in _SIGNED)]
    lines += [f"{name}:{named[name]}" for name in sorted(named) if name.startswith("x-ms-")]
    path, _, query = url.target.decode("ascii").partition("?")
    lines.append(f"/{account}{path}")
    fields = sorted(field.partition("=")[::2] for field in query.split("&") if field)
    lines += [f"{unquote(name).lower()}:{unquote(value)}" for name, value in fields]
    return "\n".join(lines)

"""Who we are to Google and Azure: the chains of their own libraries, versions by id, and what is missing, in words."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rangefs.core.figures import UpstreamFigures
from rangefs.core.settings import UpstreamSettings
from rangefs.core.versions import Level, Version
from rangefs.errors import Denied, NotFound, Stale, UsageError
from rangefs.sources.azure_credentials import SharedKey, account_of
from rangefs.sources.registry import open_source
from tests.emulators import Azurite
from tests.sources.reading import opened, read_range
from tests.sources.scripted import Asked, Wire, origin, reply

BODY = b"0123456789"


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of whoever runs the tests is in the environment."""
    for name in [name for name in os.environ if name.startswith(("AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def service_account(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A service account's key file, as Google gives it, of a key that nobody knows."""
    key = tmp_path_factory.mktemp("google") / "key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True, timeout=60)
    return {
        "type": "service_account",
        "project_id": "some-project",
        "private_key_id": "1",
        "private_key": key.read_text(),
        "client_email": "someone@some-project.iam.gserviceaccount.com",
        "token_uri": "",
    }


class Google:
    """A token endpoint and a bucket of one object behind one address; tokens are taken once, then refused."""

    def __init__(self, tokens_last: int = 1_000_000) -> None:
        self.issued = 0
        self.used = 0
        self.tokens_last = tokens_last

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        await wire.send(self.answer(asked))
        return asked.method != "POST"  # its body is not read here

    def answer(self, asked: Asked) -> bytes:
        kind = {"Content-Type": "application/json"}
        if asked.target == "/token":
            self.issued, self.used = self.issued + 1, 0
            token = {"access_token": f"planted-{self.issued}", "expires_in": 3600, "token_type": "Bearer"}
            return reply(200, kind, json.dumps(token).encode())
        self.used += 1
        if asked.headers.get("authorization") != f"Bearer planted-{self.issued}" or self.used > self.tokens_last:
            error = {"error": {"code": 401, "message": "Invalid Credentials", "errors": [{"reason": "authError"}]}}
            return reply(401, kind, json.dumps(error).encode())
        item = {"name": "file", "size": "10", "generation": "17", "updated": "2026-01-01T00:00:00Z"}
        if "alt=media" in asked.target:
            start, end = asked.range or (0, 10)
            fields = {"x-goog-generation": "17", "Content-Range": f"bytes {start}-{min(end, 10) - 1}/10"}
            return reply(206, fields, BODY[start:end])
        return reply(200, kind, json.dumps(item if "/o/file" in asked.target else {"items": [item]}).encode())


async def test_a_service_account_signs_in_and_its_token_may_end_in_mid_read(
    service_account: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    google = Google(tokens_last=2)
    async with origin(google) as server:
        file = tmp_path / "account.json"
        file.write_text(json.dumps({**service_account, "token_uri": server.url + "token"}))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        async with opened("gs://bucket/", UpstreamSettings(endpoint_url=server.url)) as source:
            stat = await source.stat(b"file")
            for start in range(9):
                assert await read_range(source, b"file", start, start + 1, stat.version) == BODY[start : start + 1]
    assert google.issued >= 5


async def test_no_token_is_sent_to_an_emulator_unasked() -> None:
    google = Google()
    async with (
        origin(google) as server,
        opened("gs://bucket/", UpstreamSettings(endpoint_url=server.url), connect=False) as source,
    ):
        with pytest.raises(Denied, match='authError "Invalid Credentials"'):
            await source.connect()
        assert all("authorization" not in asked.headers for asked in server.asked)


async def test_googles_credentials_that_cannot_be_read_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "account.json"
    file.write_text("{}")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    settings = UpstreamSettings(endpoint_url="http://127.0.0.1:1")
    async with opened("gs://bucket/", settings, connect=False) as source:
        with pytest.raises(Denied, match="google-auth"):
            await source.connect()


async def test_a_bearer_token_file_stands_in_for_either_library(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("planted-1\n")
    file.chmod(0o600)
    google = Google()
    google.issued = 1
    async with origin(google) as server:
        settings = UpstreamSettings(endpoint_url=server.url, bearer_token_file=file)
        async with opened("gs://bucket/", settings) as source:
            assert await read_range(source, b"file", 0, 10) == BODY


@pytest.mark.parametrize(
    ("source", "package", "extra"),
    [("gs://bucket/", "google", "rangefs[gcs]"), ("az://account/container/", "azure", "rangefs[azure]")],
)
def test_a_missing_extra_is_named(source: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **more)

    for name in [name for name in sys.modules if name in ("rangefs.sources.google", "rangefs.sources.entra")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError) as refused:
        open_source(source, UpstreamSettings(), UpstreamFigures())
    assert extra in str(refused.value)
    open_source(source, UpstreamSettings(anonymous=True), UpstreamFigures())


# -- Azure -------------------------------------------------------------------------


class Versioned:
    """A blob whose account keeps versions; `may` says whether the caller may read them by id."""

    def __init__(self, may: bool) -> None:
        self.may = may
        self.current = "2026-01-01T00:00:00.0000000Z"

    async def __call__(self, asked: Asked, wire: Wire) -> bool:
        await wire.send(self.answer(asked))
        return True

    def answer(self, asked: Asked) -> bytes:
        fields = {"ETag": f'"0x{self.current[:4]}"', "x-ms-version-id": self.current, "x-ms-request-id": "some-id"}
        if "versionid=" in asked.target:
            if not self.may:
                return reply(403, {"x-ms-error-code": "AuthorizationPermissionMismatch"})
            fields["x-ms-version-id"] = "2026-01-01T00:00:00.0000000Z"
        if asked.method == "HEAD":
            return reply(200, {**fields, "Content-Length": "10"})
        start, end = asked.range or (0, 10)
        return reply(206, {**fields, "Content-Range": f"bytes {start}-{end - 1}/10"}, BODY[start:end])


@pytest.mark.parametrize("may", [True, False])
async def test_a_version_is_pinned_by_its_id_or_compared_where_that_is_not_allowed(may: bool) -> None:
    blob = Versioned(may)
    async with origin(blob) as server:
        settings = UpstreamSettings(endpoint_url=server.url, anonymous=True)
        async with opened("az://account/container/", settings, connect=False) as source:
            stat = await source.stat(b"file")
            assert stat.version == Version(b"file", Level.IMMUTABLE, blob.current, 10)
            assert await read_range(source, b"file", 2, 5, stat.version) == b"234"
            blob.current = "2027-01-01T00:00:00.0000000Z"
            if may:
                assert await read_range(source, b"file", 5, 7, stat.version) == b"56"
            else:
                with pytest.raises(Stale):
                    await read_range(source, b"file", 5, 7, stat.version)


async def test_what_azure_says_to_a_head_is_told() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(404, {"x-ms-error-code": "BlobNotFound", "x-ms-request-id": "some-id"}))
        return True

    async with origin(script) as server:
        settings = UpstreamSettings(endpoint_url=server.url, anonymous=True)
        async with opened("az://account/container/", settings, connect=False) as source:
            with pytest.raises(
                NotFound, match=r"az://account/container/file: not found: BlobNotFound \(request some-id\)"
            ):
                await source.stat(b"file")


def test_azure_identity_gives_tokens_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    entra = pytest.importorskip("rangefs.sources.entra")
    token = SimpleNamespace(token="planted", expires_on=int(time.time()) + 3600)
    monkeypatch.setattr(entra, "DefaultAzureCredential", lambda: SimpleNamespace(get_token=lambda scope: token))
    fetched = entra._DefaultCredential().fetch()
    assert fetched.headers == {"authorization": "Bearer planted"}
    assert fetched.expires_at == token.expires_on


def test_where_an_account_is() -> None:
    def endpoint(url: str | None, **environment: str) -> str:
        settings = UpstreamSettings(endpoint_url=url, anonymous=True)
        return str(account_of("acc", settings, environment).endpoint).rstrip("/")

    assert endpoint(None) == "https://acc.blob.core.windows.net"
    assert endpoint("http://127.0.0.1:10000") == "http://127.0.0.1:10000/acc"
    assert endpoint("http://127.0.0.1:10000/acc/") == "http://127.0.0.1:10000/acc"
    assert endpoint("https://acc.blob.core.chinacloudapi.cn") == "https://acc.blob.core.chinacloudapi.cn"
    sovereign = "AccountName=acc;EndpointSuffix=core.usgovcloudapi.net"
    assert endpoint(None, AZURE_STORAGE_CONNECTION_STRING=sovereign) == "https://acc.blob.core.usgovcloudapi.net"
    other = "AccountName=other;BlobEndpoint=http://other.example"
    assert endpoint(None, AZURE_STORAGE_CONNECTION_STRING=other) == "https://acc.blob.core.windows.net"


def test_the_key_of_another_account_is_not_used() -> None:
    environment = {"AZURE_STORAGE_ACCOUNT": "other", "AZURE_STORAGE_KEY": Azurite.key}
    assert not isinstance(account_of("acc", UpstreamSettings(), environment).bearer, SharedKey)
    environment["AZURE_STORAGE_ACCOUNT"] = "acc"
    assert isinstance(account_of("acc", UpstreamSettings(), environment).bearer, SharedKey)


@pytest.mark.parametrize(
    "environment",
    [
        {"AZURE_STORAGE_KEY": "planted secret, no base64"},
        {"AZURE_STORAGE_SAS_TOKEN": "planted secret"},
        {"AZURE_STORAGE_CONNECTION_STRING": "planted secret"},
    ],
)
def test_what_is_no_secret_of_azures_is_refused_without_repeating_it(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError) as refused:
        account_of("acc", UpstreamSettings(), environment)
    assert "planted" not in str(refused.value)


def test_a_signature_is_not_sent_in_the_clear() -> None:
    settings = UpstreamSettings(endpoint_url="http://store.example")
    with pytest.raises(UsageError, match="not encrypted"):
        account_of("acc", settings, {"AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=planted"})


async def test_an_archived_blob_is_denied_not_broken() -> None:
    async def script(asked: Asked, wire: Wire) -> bool:
        await wire.send(reply(409, {"x-ms-error-code": "BlobArchived"}))
        return True

    async with origin(script) as server:
        settings = UpstreamSettings(endpoint_url=server.url, anonymous=True)
        async with opened("az://account/container/", settings, connect=False) as source:
            with pytest.raises(Denied, match="archived: BlobArchived"):
                await read_range(source, b"file", 0, 10)


async def test_googles_rate_limit_is_tried_again(no_pauses: None) -> None:
    google, limited = Google(), json.dumps({"error": {"errors": [{"reason": "rateLimitExceeded"}]}}).encode()
    refusals = 2

    async def script(asked: Asked, wire: Wire) -> bool:
        nonlocal refusals
        asked.headers["authorization"] = "Bearer planted-0"
        if refusals:
            refusals -= 1
            await wire.send(reply(403, {"Content-Type": "application/json"}, limited))
            return True
        return await google(asked, wire)

    async with origin(script) as server:
        settings = UpstreamSettings(endpoint_url=server.url, anonymous=True)
        async with opened("gs://bucket/", settings, connect=False) as source:
            assert await read_range(source, b"file", 0, 10) == BODY
    assert refusals == 0

"""Who we are to S3: botocore's credential chain, and Signature Version 4 over the exact request.

The chain (environment, profiles, SSO, web identity, containers, IMDS) may ask
files, programs and the network, so it runs in a thread; what it found is
renewed before it expires, once for all who wait. Signing is pure and done on
every try, as a signature holds its time.

The rules of signatures: "Authenticating Requests: Using the Authorization
Header (AWS Signature Version 4)" in the S3 API Reference.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.session
import trio
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials, RefreshableCredentials
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    MetadataRetrievalError,
    ProfileNotFound,
)

from rangefs.core.settings import UpstreamSettings
from rangefs.core.validators import parse_date
from rangefs.errors import Denied, Unreachable, UsageError
from rangefs.sources.credentials import Credentials, Refusal
from rangefs.sources.urls import Origin, Url

# Refusals that other credentials may turn into an answer (S3 API Reference, "Error responses"): a session that is
# over, and keys that were rotated behind our back.
OUTDATED = frozenset({"ExpiredToken", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId", "RequestExpired"})
SKEWED = frozenset({"RequestTimeTooSkewed"})
# A chain that has just been asked, with or without success, is not asked again by the next who is refused.
ASK_AGAIN_S = 5.0
# Stores take signatures for 15 minutes; a clock that is off by less than this is not the reason of a refusal.
_LEAST_SKEW_S = 60


class Profile:
    """What the AWS configuration says of this user, apart from secrets. Reads files; raises `UsageError`."""

    def __init__(self, name: str | None) -> None:
        self._session = botocore.session.Session(profile=name)
        try:
            self._scoped: Mapping[str, Any] = self._session.get_scoped_config()
        except ProfileNotFound as error:
            raise UsageError(f"{error}; look at ~/.aws/config and --profile") from error

    @property
    def name(self) -> str:
        return str(self._session.get_config_variable("profile") or "")

    @property
    def region(self) -> str | None:
        region = self._session.get_config_variable("region")
        return None if region is None else str(region)

    @property
    def endpoint_url(self) -> str | None:
        for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
            if os.environ.get(name):
                return os.environ[name]
        configured = self._scoped.get("endpoint_url")
        return None if configured is None else str(configured)


class Chain:
    """The credentials of a profile, found when first needed and renewed once for all who wait.

    profile  its name, None for the environment's choice
    """

    def __init__(self, profile: str | None) -> None:
        self._profile = profile
        self._found: Any = None  # botocore's Credentials or a child of it
        self._keys: ReadOnlyCredentials | None = None
        self._lock = trio.Lock()
        self._asked_at = float("-inf")
        self._renewed = False

    def __repr__(self) -> str:
        return f"<Chain of profile {self._profile or 'default'}>"

    async def keys(self) -> ReadOnlyCredentials:
        """Keys that are good for a while. Raises `Denied`, `Unreachable`. Cancelled: the thread ends by itself."""
        if self._keys is None or self._is_due():
            async with self._lock:
                if self._keys is None or self._is_due():
                    await self._ask(afresh=self._found is None)
        assert self._keys is not None
        return self._keys

    async def renew(self) -> bool:
        """After a refusal: look at the whole chain again. Are there other keys now (or since a moment ago)?"""
        async with self._lock:
            if trio.current_time() - self._asked_at >= ASK_AGAIN_S or self._keys is None:
                before = self._keys
                await self._ask(afresh=True)
                self._renewed = self._keys != before
            return self._renewed

    def _is_due(self) -> bool:
        """Botocore's own rule: 15 minutes before the end, and where that fails we go on with what we have."""
        return (
            isinstance(self._found, RefreshableCredentials)
            and self._found.refresh_needed()
            and trio.current_time() - self._asked_at >= ASK_AGAIN_S
        )

    async def _ask(self, afresh: bool) -> None:
        self._asked_at = trio.current_time()
        try:
            found, keys = await trio.to_thread.run_sync(self._look, afresh, abandon_on_cancel=True)
        except (HTTPClientError, MetadataRetrievalError) as error:
            raise Unreachable(f"can't get AWS credentials: {_line(error)}") from error
        except (BotoCoreError, ClientError, RuntimeError, OSError) as error:
            raise Denied(f"can't get AWS credentials: {_line(error)}") from error
        if found is None:
            raise Denied("no AWS credentials found: set AWS_PROFILE or --profile, log in, or use --anonymous")
        self._renewed = self._renewed or keys != self._keys
        self._found, self._keys = found, keys

    def _look(self, afresh: bool) -> tuple[Any, ReadOnlyCredentials | None]:
        """In a thread. A new session reads files anew; an old one's credentials know how to refresh themselves."""
        found = botocore.session.Session(profile=self._profile).get_credentials() if afresh else self._found
        return found, None if found is None else found.get_frozen_credentials()


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """Botocore's signer by a clock that may be corrected, and silent: its debug lines would hold session tokens."""

    def __init__(self, keys: ReadOnlyCredentials, region: str, ahead_s: float) -> None:
        super().__init__(keys, "s3", region)
        self._ahead_s = ahead_s

    def add_auth(self, request: AWSRequest) -> None:
        now = datetime.now(UTC) + timedelta(seconds=self._ahead_s)
        request.context["timestamp"] = now.strftime(SIGV4_TIMESTAMP)
        self._modify_request_before_signing(request)
        text = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(text, request))


class AwsBearer:
    """`credentials.Bearer` that signs what goes to the store's own origins.

    others   custom headers; where they authorise by themselves (a bearer token, basic), nothing is signed
    chain    None signs nothing: anonymous
    region   of the bucket, as far as known; corrected by refusals that name the right one
    is_ours  is an origin (a redirect's target, perhaps) the store's own, which may see a signature?
    """

    def __init__(
        self,
        others: Credentials,
        chain: Chain | None,
        region: str,
        is_ours: Callable[[Origin], bool],
        requester_pays: bool = False,
    ) -> None:
        self.region = region
        self._others = others
        self._chain = chain
        self._is_ours = is_ours
        self._extra = [("x-amz-request-payer", "requester")] if requester_pays else []
        self._ahead_s = 0.0

    @property
    def identity(self) -> str:
        return self._others.identity

    async def headers_for(self, method: str, url: Url, headers: Mapping[str, str]) -> list[tuple[str, str]]:
        added = await self._others.headers_for(method, url, headers)
        if not self._is_ours(url.origin):
            return added
        added = [*added, *self._extra]
        if self._chain is None or any(name == "authorization" for name, _ in added):
            return added
        keys = await self._chain.keys()
        request = AWSRequest(method, str(url), {"host": url.origin.authority, **headers, **dict(added)})
        _Signer(keys, self.region, self._ahead_s).add_auth(request)
        return [(name.lower(), value) for name, value in request.headers.items() if name not in ("host", *headers)]

    async def renew(self, refusal: Refusal) -> bool:
        region = self._region_told(refusal)
        if region:
            self.region = region
            return True
        code = refusal.problem.code if refusal.problem else ""
        if code in SKEWED:
            return self._set_clock(refusal)
        return code in OUTDATED and self._chain is not None and await self._chain.renew()

    def _region_told(self, refusal: Refusal) -> str:
        """The bucket's region where the refusal names another than ours: in a header, also of HEAD, or in words."""
        told = refusal.headers.get("x-amz-bucket-region", "") or (refusal.problem.region if refusal.problem else "")
        known = told.replace("-", "").isalnum() and len(told) < 64 and told != self.region
        return told if known else ""

    def _set_clock(self, refusal: Refusal) -> bool:
        served_s = parse_date(refusal.headers.get("date", ""))
        if served_s is None:
            return False
        ahead_s = served_s - time.time()
        moved = abs(ahead_s - self._ahead_s) >= _LEAST_SKEW_S
        self._ahead_s = ahead_s
        return moved


def bearer_name(settings: UpstreamSettings, profile: Profile) -> str:
    """Names who asks, so that caches stay apart, without a secret; known before any credentials are."""
    if settings.anonymous:
        return "anonymous"
    who = [profile.name, os.environ.get("AWS_ACCESS_KEY_ID", ""), os.environ.get("AWS_ROLE_ARN", "")]
    return hashlib.sha256("\n".join(["rangefs identity", *who]).encode()).hexdigest()[:16]


def _line(error: BaseException) -> str:
    """The first line of what botocore says; it names providers and profiles, never keys."""
    return str(error).partition("\n")[0] or type(error).__name__

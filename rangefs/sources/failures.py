"""Transport failures translated into our own, in this one place."""

from __future__ import annotations

import ssl
from types import TracebackType

import h11
import httpx

from rangefs.errors import BadAnswer, Denied, Unreachable

# The connection failed us, not the answer: another try may do better.
_TRANSIENT = (
    httpx.TimeoutException,
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ProxyError,
    OSError,
)


class Translated:
    """Turns what connections raise into `Unreachable` (worth a retry), `Denied` or `BadAnswer`.

    who  the origin, for the message

    A class, not a generator: it wraps each piece of each body.
    """

    __slots__ = ("_who",)

    def __init__(self, who: object) -> None:
        self._who = who

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, ssl.SSLCertVerificationError):
            raise Denied(f"{self._who}: the certificate is not good: {error.verify_message}") from error
        if isinstance(error, _TRANSIENT):
            raise Unreachable(f"{self._who}: {_words(error)}") from error
        if isinstance(error, h11.LocalProtocolError):
            raise BadAnswer(f"{self._who}: not to be asked for in HTTP: {_words(error)}") from error


_WORDS: dict[type[BaseException], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.ReadTimeout: "connected, but silent",
    httpx.WriteTimeout: "does not take the request",
}


def _words(error: BaseException) -> str:
    text = _WORDS.get(type(error)) or str(error).partition("\n")[0] or type(error).__name__
    return text[:1].lower() + text[1:]

"""Transport failures translated into our own, in this one place."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import httpcore

from rangefs.errors import BadAnswer, Denied, Unreachable

# The connection failed us, not the answer: another try may do better.
_TRANSIENT = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.RemoteProtocolError,
    httpcore.ProxyError,
    OSError,
)


@contextmanager
def translated(who: str) -> Iterator[None]:
    """Turns what connections raise into `Unreachable` (worth a retry), `Denied` or `BadAnswer`.

    who  the origin, for the message
    """
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise Denied(f"{who}: the certificate is not good: {error.verify_message}") from error
    except _TRANSIENT as error:
        raise Unreachable(f"{who}: {_words(error)}") from error
    except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise BadAnswer(f"{who}: not HTTP as we speak it: {_words(error)}") from error


_WORDS: dict[type[BaseException], str] = {
    httpcore.ConnectTimeout: "no connection in time",
    httpcore.ReadTimeout: "connected, but silent",
    httpcore.WriteTimeout: "does not take the request",
}


def _words(error: BaseException) -> str:
    text = _WORDS.get(type(error)) or str(error).partition("\n")[0] or type(error).__name__
    return text[:1].lower() + text[1:]

"""What the text of an option means where it is no quantity. Each function raises `UsageError`."""

from __future__ import annotations

import enum
import grp
import os
import pwd
import re
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from rangefs.cli import quantities
from rangefs.core.redact import is_secret_header
from rangefs.core.settings import Sync, Weak
from rangefs.errors import UsageError

TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)  # RFC 9110 section 5.6.2
TRUE_WORDS = {"1", "true", "yes", "on"}
FALSE_WORDS = {"0", "false", "no", "off"}
Choice = TypeVar("Choice", bound=enum.Enum)


def text(given: object) -> str:
    """Text as it is; a number from TOML as its digits."""
    if isinstance(given, bool) or not isinstance(given, str | int | float):
        raise UsageError(f"expected a text or a number, not {type(given).__name__}")
    return str(given)


def flag(given: object) -> bool:
    """True or False, from TOML or from ``-o name`` and ``-o name=yes``."""
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in TRUE_WORDS | FALSE_WORDS:
        return given.lower() in TRUE_WORDS
    raise UsageError("is a switch: true or false")


def path(given: str) -> Path:
    """An absolute path; ``~`` is the home folder."""
    if not given or "\0" in given:
        raise UsageError("give a path")
    try:
        return Path(os.path.abspath(Path(given).expanduser()))
    except RuntimeError as error:
        raise UsageError(f"{given!r}: no home folder is known") from error


def word(given: str) -> str:
    """A name, not empty."""
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f]+", given):
        raise UsageError(f"{given!r} is no name")
    return given


def _choice(given: str, kind: type[Choice]) -> Choice:
    try:
        return kind(given)
    except ValueError as error:
        raise UsageError(f"{given!r} is none of {', '.join(str(one.value) for one in kind)}") from error


def sync(given: str) -> Sync:
    return _choice(given, Sync)


def weak(given: str) -> Weak:
    return _choice(given, Weak)


def _one_of(given: str, words: tuple[str, ...]) -> str:
    if given not in words:
        raise UsageError(f"{given!r} is none of {', '.join(words)}")
    return given


def log_level(given: str) -> str:
    return _one_of(given.lower(), ("debug", "info", "warning", "error"))


def log_format(given: str) -> str:
    return _one_of(given, ("text", "json"))


def rate(given: str) -> int:
    """Bytes a second; ``/s`` may follow the size."""
    return quantities.positive_size_bytes(given.removesuffix("/s"))


def header(given: str) -> tuple[str, str]:
    """``K: V``. What may be a secret is refused: anyone on this machine can read a command line."""
    name, colon, value = given.partition(":")
    if not colon or not TOKEN.fullmatch(name):
        raise UsageError("is no header: give 'Name: value'")
    if is_secret_header(name):
        raise UsageError(f"{name} may be a secret, and a command line is no secret: use --header-file")
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise UsageError(f"the value of {name} holds a control character")
    return name, value.strip()


def _url(given: str, schemes: tuple[str, ...]) -> SplitResult:
    """An absolute URL without a password. Its text is not repeated in errors: it may hold one."""
    wanted = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        url = urlsplit(given)
        # A port that is no number shows up only when asked for.
        known = url.scheme.lower() in schemes and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError as error:
        raise UsageError("is no URL that can be understood") from error
    if not known:
        raise UsageError(f"give a URL that begins with {wanted} and a host")
    if url.username or url.password:
        raise UsageError("a name or password does not belong in a URL, where anyone can read it: use --netrc")
    return url


SOURCE_SCHEMES = ("http", "https", "s3", "gs", "az", "webdav", "webdavs", "catalog+http", "catalog+https")
VERBATIM = ("s3://",)  #: a key, as its own tools take it: nothing is decoded, spaces are spaces


def source(given: str) -> str:
    """A SOURCE, as INTERFACE lists them."""
    verbatim = given.startswith(VERBATIM)
    if any(ord(character) < 33 - verbatim or ord(character) == 127 for character in given):
        raise UsageError("holds a control character" if verbatim else "holds a space: write it as %20")
    if not given.startswith("catalog+file:///"):
        _url(given, SOURCE_SCHEMES)
    return given


def place(url: str) -> str:
    """The same for two spellings of one address: letter case of its host, its scheme's own port, a final slash."""
    if url.startswith(VERBATIM):
        return url.rstrip("/")
    split = urlsplit(url)
    own = {"http": 80, "webdav": 80, "https": 443, "webdavs": 443}.get(split.scheme)
    port = "" if split.port in (None, own) else f":{split.port}"
    query = f"?{split.query}" if split.query else ""
    return f"{split.scheme}://{split.hostname}{port}{split.path.rstrip('/')}{query}"


def web_address(given: str) -> str:
    """The address of a proxy, or of a store."""
    _url(given, ("http", "https"))
    return given


def host_port(given: str) -> str:
    """``HOST:PORT``, ``[::1]:9000``, or ``:PORT`` for loopback."""
    match = re.fullmatch(r"([^:\s/]*|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", given, re.ASCII)
    if match is None or int(match[2]) > 65535:
        raise UsageError(f"{given!r} is not HOST:PORT")
    return f"{match[1] or '127.0.0.1'}:{match[2]}"


def uid(given: str) -> int:
    """A user's number or name."""
    if re.fullmatch(r"[0-9]{1,10}", given, re.ASCII) and int(given) < 2**32 - 1:
        return int(given)
    try:
        return pwd.getpwnam(given).pw_uid
    except (KeyError, ValueError) as error:
        raise UsageError(f"there is no user {given!r}") from error


def gid(given: str) -> int:
    """A group's number or name."""
    if re.fullmatch(r"[0-9]{1,10}", given, re.ASCII) and int(given) < 2**32 - 1:
        return int(given)
    try:
        return grp.getgrnam(given).gr_gid
    except (KeyError, ValueError) as error:
        raise UsageError(f"there is no group {given!r}") from error

"""The options of a mount: one table that feeds ``--name``, ``-o name=value`` and the config file alike.

`MOUNT_OPTIONS` says for each option what its text means and which field of
`MountSettings` it fills; `cli.order` puts the values of all three places
together. Nothing here reads a file or looks at the machine, but for user and
group names and the home folder.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rangefs.cli.quantities import (
    buffer_size_bytes,
    count,
    duration_s,
    min_free,
    octal,
    positive_duration_s,
    size_bytes,
)
from rangefs.cli.values import (
    flag,
    gid,
    header,
    host_port,
    log_format,
    log_level,
    path,
    rate,
    source,
    sync,
    text,
    uid,
    weak,
    web_address,
    word,
)
from rangefs.errors import UsageError


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    name        as after ``--``; with ``_`` for ``-`` after ``-o``, either way in the config file
    target      which field it fills: "cache.…", "upstream.…", "view.…", "mount.…" of the settings, or "command.…"
    help        one line, the default in parentheses
    parse       its text → its value; raises `UsageError`. None for a switch
    metavar     what ``--help`` calls its text
    repeatable  may be given several times; its value is then a tuple of all
    """

    name: str
    target: str
    help: str
    parse: Callable[[str], Any] | None = None
    metavar: str = ""
    repeatable: bool = False

    def value_of(self, given: object, where: str) -> Any:
        """The value of what was `given` (text, a flag's True, a list of texts; from TOML also numbers)."""
        try:
            if self.parse is None:
                return flag(given)
            if not self.repeatable:
                return self.parse(text(given))
            return tuple(self.parse(text(one)) for one in (given if isinstance(given, list) else [given]))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error


MOUNT_OPTIONS: tuple[Option, ...] = (
    Option("cache-dir", "cache.folder", "where bytes are kept ($XDG_CACHE_HOME/rangefs/…)", path, "DIR"),
    Option("cache-size", "cache.size_bytes", "hard cap of the cache (20GiB)", buffer_size_bytes, "SIZE"),
    Option(
        "min-free", "cache.min_free", "leave so much of the disk to others, a share or a size (5%)", min_free, "SHARE"
    ),
    Option("sync", "cache.sync", "safe against power loss: none, batch (after 1 s) or always (batch)", sync, "WHEN"),
    Option("memory", "mount.memory_bytes", "all buffers together (128MiB)", buffer_size_bytes, "SIZE"),
    Option("metadata-ttl", "mount.metadata_ttl_s", "trust names and attributes so long (60s)", duration_s, "TIME"),
    Option(
        "stale-if-error", "mount.stale_if_error_s", "show what is cached while upstream fails (1d)", duration_s, "TIME"
    ),
    Option("offline", "mount.offline", "never ask upstream: serve what the cache has"),
    Option("weak", "mount.weak", "files with a weak validator: cache while open, or spool whole (open)", weak, "HOW"),
    Option("max-full-fetch", "mount.max_full_fetch_bytes", "fetch whole where ranges fail (1GiB)", size_bytes, "SIZE"),
    Option("mirror", "mount.mirrors", "the same tree elsewhere (repeatable)", source, "URL", repeatable=True),
    Option("read-timeout", "upstream.read_timeout_s", "the longest a read may take (60s)", positive_duration_s, "TIME"),
    Option("max-connections", "upstream.max_connections", "connections to one origin (16)", count, "N"),
    Option("bwlimit", "upstream.bwlimit_bytes_s", "bytes a second at most", rate, "SIZE"),
    Option(
        "header", "upstream.headers", "send 'K: V'; not for secrets (repeatable)", header, "HEADER", repeatable=True
    ),
    Option("header-file", "upstream.header_file", "a private file of headers to send, one a line", path, "FILE"),
    Option("bearer-token-file", "upstream.bearer_token_file", "a private file with a bearer token", path, "FILE"),
    Option("netrc", "upstream.netrc", "a private netrc file with names and passwords", path, "FILE"),
    Option("insecure-auth", "upstream.insecure_auth", "allow credentials over plain http"),
    Option("ca-file", "upstream.ca_file", "certificates to trust", path, "FILE"),
    Option("client-cert", "upstream.client_cert", "our certificate and key, PEM", path, "FILE"),
    Option("proxy", "upstream.proxy", "go through this http(s) proxy", web_address, "URL"),
    Option("403-as-enoent", "upstream.forbidden_as_missing", "take a 403 for a missing file"),
    Option("endpoint-url", "upstream.endpoint_url", "the store's address (MinIO, Ceph, R2, …)", web_address, "URL"),
    Option("region", "upstream.region", "the store's region", word, "REGION"),
    Option("profile", "upstream.profile", "which credential profile of the store", word, "NAME"),
    Option("anonymous", "upstream.anonymous", "use no credentials"),
    Option("requester-pays", "upstream.requester_pays", "agree to pay for requests"),
    Option("uid", "view.uid", "owner of all files (who mounts)", uid, "USER"),
    Option("gid", "view.gid", "group of all files (that of who mounts)", gid, "GROUP"),
    Option("umask", "view.umask", "permission bits to take away (022)", octal, "BITS"),
    Option("file-mode", "view.file_mode", "permission bits of files (0444)", octal, "BITS"),
    Option("allow-other", "view.allow_other", "let other users in"),
    Option("metrics", "mount.metrics", "serve figures for Prometheus here", host_port, "HOST:PORT"),
    Option("log-level", "mount.log_level", "debug, info, warning or error (info)", log_level, "LEVEL"),
    Option("log-format", "mount.log_format", "text or json (text)", log_format, "FORMAT"),
    Option("log-file", "command.log_file", "where the log goes (see below)", path, "FILE"),
    Option("foreground", "command.foreground", "stay in the foreground"),
)
BY_NAME = {option.name: option for option in MOUNT_OPTIONS}

# Understood and checked, but nothing below the command line acts on them yet: refused rather than silently ignored.
# Whoever makes one work takes it out of here, and it shows up in --help.
LATER = {"metrics"}

# What mount(8), fstab and systemd hand on, and what holds for us anyway: read-only, no devices, no set-user-id bits
# (a mode of ours has neither), or is only for them to act on.
GENERIC_OPTIONS = {
    *("ro", "rw", "suid", "nosuid", "dev", "nodev", "auto", "noauto", "user", "nouser", "users", "nousers", "owner"),
    *("noowner", "group", "nogroup", "nofail", "_netdev", "defaults", "async", "sync", "dirsync", "silent", "loud"),
    *("atime", "noatime", "relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime"),
    *("lazytime", "nolazytime", "mand", "nomand", "iversion", "noiversion", "default_permissions"),
}
GENERIC_PREFIXES = ("x-", "X-", "comment=", "fsname=", "subtype=")


@dataclass(frozen=True, slots=True)
class DashO:
    """What ``-o`` said: values of our options, and whether the mount must hold no executable file."""

    values: dict[str, Any] = field(default_factory=dict)
    noexec: bool = False


def add_mount_options(parser: argparse.ArgumentParser) -> None:
    """Every option as ``--name``; what is not given does not show up in the namespace."""
    for option in MOUNT_OPTIONS:
        given, shown = f"--{option.name}", argparse.SUPPRESS if option.name in LATER else option.help.replace("%", "%%")
        if option.parse is None:
            parser.add_argument(given, action="store_true", default=argparse.SUPPRESS, help=shown)
        else:
            action = "append" if option.repeatable else "store"
            parser.add_argument(given, action=action, default=argparse.SUPPRESS, metavar=option.metavar, help=shown)


def from_arguments(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values of the options that were given as ``--name``."""
    given = vars(arguments)
    return {
        option.name: option.value_of(given[slot], f"--{option.name}")
        for option in MOUNT_OPTIONS
        if (slot := option.name.replace("-", "_")) in given
    }


def from_table(table: Mapping[str, object], where: str) -> dict[str, Any]:
    """The values of a config file's table. Paths must be absolute: whose folder would they be in?"""
    found: dict[str, Any] = {}
    for key, given in table.items():
        option = BY_NAME.get(key.replace("_", "-"))
        if option is None:
            raise UsageError(f"{where}: no option is called {key!r} (see 'rangefs mount --help')")
        if option.parse is path and not text(given).startswith(("/", "~")):
            raise UsageError(f"{where}: {key}: give an absolute path")
        found[option.name] = option.value_of(given, f"{where}: {key}")
    return found


def from_dash_o(lists: Iterable[str], *, sloppy: bool = False) -> DashO:
    """The values in ``-o a,b=c`` lists; ``\\,`` is a comma in a value, as in libfuse.

    sloppy  ignore what is unknown (mount's ``-s``) instead of raising `UsageError`
    """
    found: dict[str, Any] = {}
    noexec = False
    for item in (item for words in lists for item in _split(words)):
        key, equals, value_text = item.partition("=")
        if item in {"exec", "noexec"}:
            noexec = item == "noexec"
            continue
        if not item or item in GENERIC_OPTIONS or item.startswith(GENERIC_PREFIXES):
            continue
        option = BY_NAME.get(key.replace("_", "-"))
        if option is None:
            if sloppy:
                continue
            raise UsageError(_unknown(key))
        if option.parse is not None and not equals:
            raise UsageError(f"-o {key}: needs a value, {key}={option.metavar}")
        given: object = value_text if equals else True
        value = option.value_of(given, f"-o {key}")
        found[option.name] = found.get(option.name, ()) + value if option.repeatable else value
    return DashO(found, noexec)


def _split(words: str) -> list[str]:
    return [item.replace("\\,", ",") for item in re.split(r"(?<!\\),", words)]


def _unknown(key: str) -> str:
    if key == "remount":
        return "-o remount: a mount can't change its options; unmount it and mount it again"
    return f"-o {key}: unknown mount option (see 'rangefs mount --help')"

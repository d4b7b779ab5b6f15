"""What one command line, with its config file, asks for: the settings of a mount, checked."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rangefs.cli import config, options, values
from rangefs.core.redact import redact_url
from rangefs.core.settings import CacheSettings, MountSettings, UpstreamSettings, ViewSettings
from rangefs.errors import UsageError

# Options that may change what upstream shows: mounts that differ in one must not share a default cache folder.
WHOSE = ("endpoint-url", "profile", "anonymous", "header-file", "bearer-token-file", "netrc", "client-cert")


@dataclass(frozen=True, slots=True)
class MountOrder:
    """What one command line asks for: the mount, and how the command itself should behave."""

    settings: MountSettings
    foreground: bool = False
    log_file: Path | None = None


def order_from(arguments: argparse.Namespace, *, sloppy: bool = False) -> MountOrder:
    """The order of a parsed ``rangefs mount`` or ``mount.rangefs`` command line.

    sloppy  ignore unknown ``-o`` words

    The command line wins over the config file's source, that over its top level, that over the defaults. Raises
    `UsageError`, or `RangefsError` for a config file that can't be read.
    """
    configured = config.load(arguments.config, os.environ)
    if "://" in arguments.source:
        named = config.NamedSource(_source(arguments.source))
    else:
        named = configured.named(arguments.source)
    mountpoint = named.mountpoint if arguments.mountpoint is None else _mountpoint(arguments.mountpoint)
    if mountpoint is None:
        raise UsageError("give a MOUNTPOINT after the SOURCE")
    dash_o = options.from_dash_o(arguments.o, sloppy=sloppy)
    given = {**configured.values, **named.values, **dash_o.values, **options.from_arguments(arguments)}
    return _order(
        named.url,
        mountpoint,
        given,
        uid=os.getuid(),
        gid=os.getgid(),
        cache_folder=default_cache_folder(named.url, given, os.environ),
        noexec=dash_o.noexec,
    )


def _source(given: str) -> str:
    try:
        return values.source(given)
    except UsageError as error:
        raise UsageError(f"SOURCE: {error}") from error


def _mountpoint(given: str) -> Path:
    """The mount point with its links followed, as the kernel will name it. A dead mount does not mind the question."""
    return Path(os.path.realpath(values.path(given)))


def default_cache_folder(source: str, given: Mapping[str, Any], environment: Mapping[str, str]) -> Path:
    """The source's own folder, the same at each mount, apart for each identity: in the XDG cache folder or root's."""
    whose = [source.rstrip("/"), *(f"{name}={given[name]}" for name in WHOSE if given.get(name))]
    digest = hashlib.sha256("\n".join(whose).encode()).hexdigest()[:16]
    cache, home = environment.get("XDG_CACHE_HOME", ""), environment.get("HOME", "")
    if os.path.isabs(cache):  # the XDG specification says to ignore relative ones
        return Path(cache) / "rangefs" / digest
    if os.path.isabs(home) and home != "/":
        return Path(home) / ".cache" / "rangefs" / digest
    return Path("/var/cache/rangefs") / digest  # systemd and fstab give root no HOME


def _order(
    source: str,
    mountpoint: Path,
    given: Mapping[str, Any],
    *,
    uid: int,
    gid: int,
    cache_folder: Path,
    noexec: bool = False,
) -> MountOrder:
    """One mount from all values together.

    given         option name → value, as the functions above made them
    uid, gid      who owns the files unless an option says so
    cache_folder  where bytes are kept unless an option says so
    noexec        no file may be executable
    """
    parts: dict[str, dict[str, Any]] = {"cache": {}, "upstream": {}, "view": {}, "mount": {}, "command": {}}
    for name, value in given.items():
        if name in options.LATER:
            raise UsageError(f"--{name} is not in this version of rangefs")
        option = options.BY_NAME[name]
        part, slot = option.target.split(".")
        parts[part][slot] = value
    view = ViewSettings(**{"uid": uid, "gid": gid, **parts["view"]})
    if noexec:
        view = dataclasses.replace(view, file_mode=view.file_mode & ~0o111)
    settings = MountSettings(
        source=source,
        mountpoint=mountpoint,
        cache=CacheSettings(**{"folder": cache_folder, **parts["cache"]}),
        view=view,
        upstream=UpstreamSettings(**parts["upstream"]),
        **parts["mount"],
    )
    _check_folders(settings.mountpoint, settings.cache.folder)
    _check_mirrors(settings)
    return MountOrder(settings, **parts["command"])


def _check_folders(mountpoint: Path, cache: Path) -> None:
    """A cache below its own mount would wait for itself for ever."""
    if cache == mountpoint or mountpoint in cache.parents:
        raise UsageError(f"the cache folder {cache} is inside the mount point: choose another --cache-dir")
    if cache in mountpoint.parents:
        raise UsageError(f"the mount point {mountpoint} is inside the cache folder: choose another one")


def _check_mirrors(settings: MountSettings) -> None:
    """The same place twice would share its outages, and halve nothing; a catalog has mirrors of its own."""
    places = [values.place(settings.source)]
    for mirror in settings.mirrors:
        if "catalog+" in (mirror[:8], settings.source[:8]):
            raise UsageError("--mirror: a catalog names the mirrors of its files itself")
        if values.place(mirror) in places:
            raise UsageError(f"--mirror: {redact_url(mirror)} is given twice, or is SOURCE itself")
        places.append(values.place(mirror))

"""The config file: defaults for every mount, and named sources.

```toml
cache-size = "50GiB"            # the same names as the options of `rangefs mount`

[sources.photos]                # rangefs mount photos
url = "https://photos.example/archive/"
mountpoint = "/mnt/photos"      # may be left out; the command line wins
metadata-ttl = "10m"
```
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rangefs.cli import options, values
from rangefs.errors import RangefsError, UsageError

SYSTEM_CONFIG = Path("/etc/rangefs/config.toml")


@dataclass(frozen=True, slots=True)
class NamedSource:
    """One ``[sources.NAME]``."""

    url: str
    mountpoint: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says. `path` is None where there is none."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, NamedSource] = field(default_factory=dict)

    def named(self, name: str) -> NamedSource:
        """The source called `name`; raises `UsageError` that says what a SOURCE is."""
        if name in self.sources:
            return self.sources[name]
        where = (
            f"{self.path} names {', '.join(sorted(self.sources)) or 'no sources'}" if self.path else "no config file"
        )
        raise UsageError(f"{name!r} is no SOURCE: give a URL such as https://host/path/, or a name ({where})")


def default_paths(environment: Mapping[str, str]) -> list[Path]:
    """Where a config file is looked for, the user's own first."""
    folder = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # the XDG specification says to ignore relative ones
        home = environment.get("HOME", "")
        folder = f"{home}/.config" if home else ""
    return ([Path(folder) / "rangefs" / "config.toml"] if folder else []) + [SYSTEM_CONFIG]


def load(given: str | None, environment: Mapping[str, str]) -> Config:
    """The file that ``--config`` gives, which must exist, or the first default one that does, or none."""
    if given is not None:
        return read(values.path(given))
    for path in default_paths(environment):
        if path.is_file():
            return read(path)
    return Config()


def read(path: Path) -> Config:
    """Raises `UsageError` for what it says, `RangefsError` where it can't be read or others may have written it."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            alien = status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022
            if alien and stat.S_ISREG(status.st_mode):  # --config /dev/null means none
                raise RangefsError(f"{path}: others can write to it: chown it to yourself and chmod go-w it")
            document = tomllib.load(file)
    except OSError as error:
        raise RangefsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    return parse(document, path)


def parse(document: dict[str, Any], path: Path) -> Config:
    """A TOML document → a `Config`; raises `UsageError`."""
    tables = document.pop("sources", {})
    if not isinstance(tables, dict):
        raise UsageError(f"{path}: sources: write [sources.NAME] tables")
    named = {name: _named_source(table, f"{path}: sources.{name}") for name, table in tables.items()}
    return Config(path, options.from_table(document, str(path)), named)


def _named_source(table: object, where: str) -> NamedSource:
    if not isinstance(table, dict) or "url" not in table:
        raise UsageError(f'{where}: needs url = "https://…"')
    rest = {key: given for key, given in table.items() if key not in {"url", "mountpoint"}}
    try:
        url = values.source(values.text(table["url"]))
    except UsageError as error:
        raise UsageError(f"{where}: url: {error}") from error
    mountpoint = values.text(table["mountpoint"]) if "mountpoint" in table else ""
    if mountpoint and not mountpoint.startswith(("/", "~")):
        raise UsageError(f"{where}: mountpoint: give an absolute path")
    return NamedSource(url, values.path(mountpoint) if mountpoint else None, options.from_table(rest, where))

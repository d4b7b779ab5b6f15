"""The config file: defaults, named sources, and what wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rangefs.cli import config, mount, order
from rangefs.core.settings import MiB
from rangefs.errors import RangefsError, UsageError

FILE = """
memory = "4MiB"
max-connections = 3

[sources.photos]
url = "https://photos.example/archive/"
mountpoint = "/mnt/photos"
memory = "5MiB"
header = ["A: 1", "B: 2"]
insecure-auth = true
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(FILE)
    path.chmod(0o600)
    return path


def ordered(path: Path, *words: str) -> order.MountOrder:
    return order.order_from(mount.parser().parse_intermixed_args([*words, "--config", str(path)]))


def test_a_named_source_brings_its_url_mountpoint_and_options(path: Path) -> None:
    settings = ordered(path, "photos").settings
    assert (settings.source, settings.mountpoint) == ("https://photos.example/archive/", Path("/mnt/photos"))
    assert settings.upstream.headers == (("A", "1"), ("B", "2"))
    assert settings.upstream.insecure_auth


def test_the_command_line_wins_over_the_source_over_the_top_level(path: Path) -> None:
    assert ordered(path, "photos").settings.memory_bytes == 5 * MiB
    assert ordered(path, "photos").settings.upstream.max_connections == 3
    assert ordered(path, "photos", "--memory", "6MiB").settings.memory_bytes == 6 * MiB
    assert ordered(path, "photos", "-o", "memory=7MiB").settings.memory_bytes == 7 * MiB
    assert ordered(path, "photos", "/mnt/y").settings.mountpoint == Path("/mnt/y")
    assert ordered(path, "http://h/", "/mnt/y").settings.memory_bytes == 4 * MiB


def test_an_unknown_name_is_refused_with_those_that_are_known(path: Path) -> None:
    with pytest.raises(UsageError, match=r"'videos' is no SOURCE.*photos"):
        ordered(path, "videos", "/mnt/x")


def test_a_source_without_a_mountpoint_needs_one(path: Path) -> None:
    with pytest.raises(UsageError, match="MOUNTPOINT"):
        ordered(path, "http://h/")


@pytest.mark.parametrize(
    "text",
    [
        "memory = ",
        "nosuch = 1",
        "memory = true",
        "memory = [1]",
        "offline = 3",
        "cache-dir = 'relative'",
        "sources = 3",
        "[sources]\nphotos = 'x'",
        "[sources.x]\nmemory = '4MiB'",
        "[sources.x]\nurl = 'nonsense'",
        "[sources.x]\nurl = 'http://h/'\nmountpoint = 'rel'",
        "[sources.x]\nurl = 'http://h/'\nheader = 'Cookie: a'",
        "\udcff",
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_names_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text, errors="surrogateescape")
    path.chmod(0o600)
    with pytest.raises(UsageError) as caught:
        config.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_others_can_write_is_refused(path: Path) -> None:
    path.chmod(0o622)
    with pytest.raises(RangefsError, match="others can write"):
        config.read(path)


def test_a_given_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(RangefsError, match="No such file"):
        config.load(str(tmp_path / "none.toml"), {})


def test_without_a_file_all_is_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "SYSTEM_CONFIG", tmp_path / "none.toml")
    assert config.load(None, {"HOME": str(tmp_path)}) == config.Config()


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({"XDG_CONFIG_HOME": "/x", "HOME": "/h"}, "/x/rangefs/config.toml"),
        ({"XDG_CONFIG_HOME": "rel", "HOME": "/h"}, "/h/.config/rangefs/config.toml"),
        ({}, "/etc/rangefs/config.toml"),
    ],
)
def test_where_the_file_is_looked_for(environment: dict[str, Any], first: str) -> None:
    assert config.default_paths(environment)[0] == Path(first)

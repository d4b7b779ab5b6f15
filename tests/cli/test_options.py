"""Options mean the same on the command line, after -o and in the config file."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.cli import mount, options, order
from rangefs.core.settings import GiB, MiB, MinFree, MountSettings, Sync, Weak
from rangefs.errors import UsageError

# One text for each option that takes one, and the value it has.
SAMPLES: dict[str, tuple[str, Any]] = {
    "cache-dir": ("/var/tmp/c", Path("/var/tmp/c")),
    "cache-size": ("1GiB", GiB),
    "min-free": ("2%", MinFree(0.02)),
    "sync": ("always", Sync.ALWAYS),
    "memory": ("64MiB", 64 * MiB),
    "metadata-ttl": ("5m", 300.0),
    "stale-if-error": ("1h", 3600.0),
    "weak": ("spool", Weak.SPOOL),
    "max-full-fetch": ("10MB", 10_000_000),
    "mirror": ("https://b.example/x/", ("https://b.example/x/",)),
    "read-timeout": ("10s", 10.0),
    "max-connections": ("4", 4),
    "bwlimit": ("10MiB/s", 10 * MiB),
    "header": ("X-Team: storage", (("X-Team", "storage"),)),
    "header-file": ("/f/h", Path("/f/h")),
    "bearer-token-file": ("/f/b", Path("/f/b")),
    "netrc": ("/f/n", Path("/f/n")),
    "ca-file": ("/f/ca", Path("/f/ca")),
    "client-cert": ("/f/cc", Path("/f/cc")),
    "proxy": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "endpoint-url": ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
    "region": ("eu-west-1", "eu-west-1"),
    "profile": ("work", "work"),
    "uid": ("12", 12),
    "gid": ("34", 34),
    "umask": ("077", 0o77),
    "file-mode": ("0555", 0o555),
    "metrics": (":9100", "127.0.0.1:9100"),
    "log-level": ("debug", "debug"),
    "log-format": ("json", "json"),
    "log-file": ("/f/log", Path("/f/log")),
}
SWITCHES = {option.name for option in options.MOUNT_OPTIONS if option.parse is None}


def ordered(*words: str) -> order.MountOrder:
    return order.order_from(
        mount.parser().parse_intermixed_args(["http://h/x/", "/mnt/x", "--config", os.devnull, *words])
    )


def settings(*words: str) -> MountSettings:
    return ordered(*words).settings


def test_every_option_has_a_sample() -> None:
    assert set(SAMPLES) | SWITCHES == set(options.BY_NAME)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_an_option_means_the_same_in_all_three_places(name: str) -> None:
    text, value = SAMPLES[name]
    words = [f"--{name}", text]
    from_argv = options.from_arguments(mount.parser().parse_args(["s", "m", *words]))
    from_o = options.from_dash_o([f"{name.replace('-', '_')}={text}"]).values
    from_file = options.from_table({name: text}, "file")
    assert from_argv == from_o == from_file == {name: value}


@pytest.mark.parametrize("name", sorted(SWITCHES))
def test_a_switch_means_the_same_in_all_three_places(name: str) -> None:
    from_argv = options.from_arguments(mount.parser().parse_args(["s", "m", f"--{name}"]))
    assert from_argv == options.from_dash_o([name.replace("-", "_")]).values == {name: True}
    assert options.from_table({name.replace("-", "_"): True}, "file") == {name: True}
    assert options.from_table({name: False}, "file") == {name: False}


@pytest.mark.parametrize("name", sorted(options.LATER))
def test_an_option_that_nothing_acts_on_is_refused_and_not_offered(name: str) -> None:
    with pytest.raises(UsageError, match=f"--{name} is not in this version"):
        ordered(*words_for(name))
    assert f"--{name}" not in mount.parser().format_help()


def words_for(name: str) -> list[str]:
    return [f"--{name}"] if name in SWITCHES else [f"--{name}", SAMPLES[name][0]]


@pytest.mark.parametrize("name", sorted(set(options.BY_NAME) - options.LATER))
def test_every_option_reaches_a_field_of_the_settings(name: str) -> None:
    assert ordered(*words_for(name)) != ordered()
    assert f"--{name}" in mount.parser().format_help()


def test_defaults_are_those_of_the_interface() -> None:
    made = settings()
    assert (made.source, made.mountpoint) == ("http://h/x/", Path("/mnt/x"))
    assert (made.cache.size_bytes, made.cache.min_free, made.cache.sync) == (20 * GiB, MinFree(0.05), Sync.BATCH)
    assert (made.memory_bytes, made.metadata_ttl_s, made.stale_if_error_s) == (128 * MiB, 60, 86400)
    assert (made.upstream.read_timeout_s, made.upstream.max_connections) == (60, 16)
    assert (made.max_full_fetch_bytes, made.weak) == (GiB, Weak.OPEN)
    assert (made.view.uid, made.view.gid) == (os.getuid(), os.getgid())


@pytest.mark.parametrize(
    "words",
    [
        "ro,nosuid,nodev,noauto,nofail,_netdev,user,x-systemd.automount,x-gvfs-show,defaults",
        "rw",
        "rw,dev,suid,exec,auto,users,async,relatime,sync",
        "",
        "comment=mine,X-mount.mkdir",
    ],
)
def test_what_fstab_hands_on_is_accepted_and_changes_nothing(words: str) -> None:
    assert settings("-o", words) == settings()


def test_noexec_takes_the_execute_bits_away() -> None:
    assert settings("-o", "file_mode=755,noexec").view.file_mode == 0o644
    assert settings("-o", "file_mode=755,noexec,exec").view.file_mode == 0o755


def test_sync_without_a_value_is_the_mount_option_and_with_one_is_ours() -> None:
    assert settings("-o", "sync").cache.sync is Sync.BATCH
    assert settings("-o", "sync=none").cache.sync is Sync.NONE


def test_an_escaped_comma_belongs_to_the_value() -> None:
    assert settings("-o", r"header=Accept-Language: de\,en,offline").upstream.headers == (("Accept-Language", "de,en"),)


def test_a_repeatable_option_adds_up() -> None:
    both = (("A", "1"), ("B", "2"))
    assert settings("--header", "A: 1", "--header", "B: 2").upstream.headers == both
    assert settings("-o", "header=A: 1,header=B: 2").upstream.headers == both
    assert options.from_table({"header": ["A: 1", "B: 2"]}, "file") == {"header": both}


def test_mirrors_add_up_and_may_be_of_another_kind() -> None:
    both = ("https://a.example/x/", "s3://bucket/x")
    assert settings("--mirror", both[0], "--mirror", both[1]).mirrors == both
    assert settings("-o", f"mirror={both[0]},mirror={both[1]}").mirrors == both
    assert options.from_table({"mirror": list(both)}, "file") == {"mirror": both}


def test_a_mirror_of_the_same_host_with_another_path_or_port_is_one() -> None:
    assert settings("--mirror", "http://h/y/", "--mirror", "http://h:81/x/", "--mirror", "https://h/x/").mirrors


def test_the_long_form_wins_over_dash_o() -> None:
    assert settings("--memory", "2MiB", "-o", "memory=3MiB").memory_bytes == 2 * MiB


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "nosuch"),
        ("-o", "nosuch=1"),
        ("-o", "remount,ro"),
        ("-o", "memory"),
        ("-o", "offline=perhaps"),
        ("--memory", "1KiB"),
        ("--cache-size", "0"),
        ("--read-timeout", "0"),
        ("--sync", "sometimes"),
        ("--max-connections", "0"),
        ("--header", "no colon"),
        ("--header", "Bad Name: x"),
        ("--header", "X: a\r\nY: b"),
        ("--proxy", "socks5://h"),
        ("--proxy", "http://u:p@h"),
        ("--mirror", "ftp://h/"),
        ("--mirror", "http://h:99999/"),
        ("--mirror", "http://h/x/"),
        ("--mirror", "HTTP://H:80/x"),
        ("--mirror", "https://b/", "--mirror", "https://b:443"),
        ("--mirror", "catalog+https://h/list"),
        ("--metrics", "9100"),
        ("--uid", "nobody-of-that-name"),
        ("--log-level", "loud"),
        ("--cache-dir", ""),
        ("--cache-dir", "/mnt/x/cache"),
        ("--cache-dir", "/mnt/x"),
        ("--cache-dir", "/mnt"),
        ("--nosuch",),
        ("--mem", "1GiB"),
    ],
)
def test_what_is_off_is_refused_in_one_line_that_names_it(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        ordered(*words)
    assert "\n" not in str(caught.value)
    assert words[0] in str(caught.value) or "cache" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "Cookie",
        "X-Auth-Token",
        "x-amz-security-token",
        "X-Api-Key",
        "Proxy-Authorization",
    ],
)
def test_a_secret_header_is_refused_without_being_repeated(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings("--header", f"{name}: hunter2")
    assert "--header-file" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_password_in_a_source_is_refused_without_being_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        order.order_from(mount.parser().parse_args(["https://me:hunter2@h/", "/mnt/x", "--config", os.devnull]))
    assert "hunter2" not in str(caught.value)


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=20), max_size=4))
def test_any_dash_o_list_is_understood_or_a_usage_error(lists: list[str]) -> None:
    with contextlib.suppress(UsageError):
        options.from_dash_o(lists)


@given(st.lists(st.from_regex(r"q_[a-z]*(=[^,]*)?", fullmatch=True)))
def test_a_sloppy_mount_ignores_what_is_unknown(words: list[str]) -> None:
    assert options.from_dash_o([",".join(words)], sloppy=True) == options.DashO()


@given(st.text(max_size=30))
def test_any_source_is_understood_or_a_usage_error(text: str) -> None:
    arguments = mount.parser().parse_args(["--config", os.devnull, "--", text, "/mnt/x"])
    try:
        assert order.order_from(arguments).settings.source == text
    except UsageError:
        return


def test_options_may_stand_between_and_before_the_operands() -> None:
    arguments = ["--foreground", "http://h/", "--memory", "2MiB", "/mnt/x", "--offline", "--config", os.devnull]
    made = order.order_from(mount.parser().parse_intermixed_args(arguments))
    assert made.foreground
    assert made.settings.mountpoint == Path("/mnt/x")


def test_a_default_cache_folder_is_the_same_each_time_and_apart_for_each_identity() -> None:
    home = {"HOME": "/home/u"}
    one = order.default_cache_folder("http://h/a", {}, home)
    assert one == order.default_cache_folder("http://h/a/", {"memory": 5}, home)
    assert one.parent == Path("/home/u/.cache/rangefs")
    others = {
        order.default_cache_folder("http://h/b", {}, home),
        order.default_cache_folder("http://h/a", {"netrc": Path("/n")}, home),
        order.default_cache_folder("http://h/a", {"anonymous": True}, home),
    }
    assert len(others | {one}) == 4


@pytest.mark.parametrize(
    ("environment", "parent"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/rangefs"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/rangefs"),
        ({}, "/var/cache/rangefs"),
        ({"HOME": "/"}, "/var/cache/rangefs"),
    ],
)
def test_where_default_caches_are(environment: dict[str, str], parent: str) -> None:
    assert order.default_cache_folder("http://h/", {}, environment).parent == Path(parent)

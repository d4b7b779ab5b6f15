"""URLs kept byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.errors import TooManyRedirects, UsageError
from rangefs.sources.redirects import REMEMBER_S, Doors, Redirects, next_hop
from rangefs.sources.urls import Origin, encode_target, join, parse_url


@given(st.binary())
def test_a_target_stands_in_a_request_line_and_says_the_same(raw: bytes) -> None:
    target = encode_target(raw)
    assert all(0x21 <= byte <= 0x7E and byte != ord("#") for byte in target)
    assert encode_target(target) == target
    if b"%" not in raw:
        from urllib.parse import unquote_to_bytes

        assert unquote_to_bytes(target) == raw


@given(st.from_regex(r"/([!$-.0-~][!$-~]{0,40})?", fullmatch=True))
def test_the_path_of_an_absolute_url_is_never_normalised(path: str) -> None:
    url = parse_url(f"http://host{path}")
    assert url.target.decode() == path
    assert join(url, str(url)) == url
    assert join(url, path) == url


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("g", "/b/c/g"),
        ("./g", "/b/c/g"),
        ("g/", "/b/c/g/"),
        ("/g/../h", "/g/../h"),
        ("?y", "/b/c/d;p?y"),
        ("g?y/../x", "/b/c/g?y/../x"),
        ("g#s", "/b/c/g"),
        (";x", "/b/c/;x"),
        ("", "/b/c/d;p?q"),
        (".", "/b/c/"),
        ("..", "/b/"),
        ("../g", "/b/g"),
        ("../../../g", "/g"),
        ("g..", "/b/c/g.."),
        ("./g/.", "/b/c/g/"),
        ("\xe9 x", "/b/c/%E9%20x"),
    ],
)
def test_relative_references_as_in_rfc_3986_section_5_4(reference: str, expected: str) -> None:
    assert str(join(parse_url("http://a/b/c/d;p?q"), reference)) == f"http://a{expected}"


def test_parts_of_a_url() -> None:
    url = parse_url("HTTPS://Example.COM:8443/a/b%20c?x=1#frag")
    assert url.origin == Origin("https", "example.com", 8443)
    assert (url.target, url.path, url.folder) == (b"/a/b%20c?x=1", b"/a/b%20c", b"/a/")
    assert str(parse_url("http://[::1]:80")) == "http://[::1]/"
    assert parse_url("http://bücher.example/").origin.host == "xn--bcher-kva.example"
    assert parse_url("http://h/ü").target == b"/%C3%BC"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/path",
        "ftp://h/",
        "http://",
        "http:///x",
        "http://user:pw@h/",
        "http://h:99999/",
        "http://[::1/",
        "http://u@h/",
    ],
)
def test_what_is_no_plain_web_url_is_a_usage_error_without_secrets(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_url(text)
    assert "pw" not in str(error.value)


def test_hops_that_must_not_be_followed() -> None:
    here = parse_url("https://host/a/b")
    for location in ("http://host/a", "ftp://host/", "file:///etc/passwd", "https://u:p@host/", "javascript:alert(1)"):
        with pytest.raises(TooManyRedirects):
            next_hop(here, location)
    assert str(next_hop(here, "c?d=/../e")) == "https://host/a/c?d=/../e"
    assert str(next_hop(here, "//other/x")) == "https://other/x"
    assert str(next_hop(parse_url("http://host/"), "https://host/")) == "https://host/"


def test_targets_are_remembered_for_a_while() -> None:
    redirects, here, there = Redirects(), parse_url("http://a/"), parse_url("http://b/")
    assert redirects.get(here, 0.0) is None
    redirects.remember(here, there, 0.0)
    assert redirects.get(here, REMEMBER_S - 1) == there
    assert redirects.get(here, REMEMBER_S) is None
    redirects.remember(here, there, 0.0)
    redirects.forget(here)
    assert redirects.get(here, 0.0) is None


def test_redirects_reach_the_internet_and_the_kind_of_place_where_the_mount_is() -> None:
    doors = Doors("home")
    assert doors.may_reach("home", "93.184.216.34")
    assert doors.may_reach("cdn", "2606:2800:220:1::1")
    for address in ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "fe80::1%eth0", "fd00::1",
                    "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1", "nonsense"):  # fmt: skip
        assert not doors.may_reach("cdn", address), address


def test_a_mount_at_home_may_lead_around_at_home_but_no_closer() -> None:
    doors = Doors("nas")
    assert doors.may_reach("nas", "192.168.1.2")
    assert doors.may_reach("nas2", "10.1.1.1")
    for address in ("127.0.0.1", "169.254.169.254"):
        assert not doors.may_reach("nas2", address)

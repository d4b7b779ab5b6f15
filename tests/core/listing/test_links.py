"""Rules of `core.listing.links`: what a link is to the folder of its page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.listing.links import MAX_HREF_BYTES, Place, Where

URL = "http://host:8080/pub/a%20b/"


def where(href: bytes, url: str = URL) -> Where:
    return Place(url).target(href).where


@pytest.mark.parametrize(
    ("href", "component"),
    [
        (b"x.txt", b"x.txt"),
        (b"dir/", b"dir/"),
        (b"./x", b"x"),
        (b"./colon:file.txt", b"colon:file.txt"),
        (b"colon:file.txt", b"colon:file.txt"),
        (b"././x/", b"x/"),
        (b"../a%20b/x", b"x"),
        (b"y/../x", b"x"),
        (b"/pub/a%20b/x", b"x"),
        (b"/pub/a b/x", b"x"),
        (b"/pub/%61%20b/x/", b"x/"),
        (b"http://host:8080/pub/a%20b/x", b"x"),
        (b"HTTP://HOST:8080/pub/a%20b/x", b"x"),
        (b"http://user@host:8080/pub/a%20b/x", b"x"),
        (b"//host:8080/pub/a%20b/x", b"x"),
        (b"  x\t", b"x"),
        (b"%2Fslash", b"%2Fslash"),
        (b"a%2Fb", b"a%2Fb"),
        (b"%252e%252e", b"%252e%252e"),
        (b"...", b"..."),
        (b"..twodots", b"..twodots"),
        (b"back\\slash", b"back\\slash"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"%zz%", b"%zz%"),
    ],
)
def test_one_component_in_the_same_folder_is_an_entry_kept_verbatim(href: bytes, component: bytes) -> None:
    target = Place(URL).target(href)
    assert (target.where, target.component) == (Where.CHILD, component)


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        (b"../", Where.PARENT),
        (b"..", Where.PARENT),
        (b"%2e%2E/", Where.PARENT),
        (b".%2e", Where.PARENT),
        (b"/pub/", Where.PARENT),
        (b"/pub", Where.PARENT),
        (b"http://host:8080/pub/", Where.PARENT),
        (b"/", Where.ABOVE),
        (b"../../", Where.ABOVE),
        (b"../../../../..", Where.ABOVE),
        (b"", Where.SELF),
        (b".", Where.SELF),
        (b"./", Where.SELF),
        (b"%2e/", Where.SELF),
        (b"?C=N;O=D", Where.SELF),
        (b"#top", Where.SELF),
        (b"./?sort=name", Where.SELF),
        (b"/pub/a%20b/?C=N", Where.SELF),
        (b"x?download=zip", Where.ELSEWHERE),
        (b"x#y", Where.ELSEWHERE),
        (b"x/y", Where.ELSEWHERE),
        (b"x//", Where.ELSEWHERE),
        (b"//x", Where.ELSEWHERE),
        (b"/other/x", Where.ELSEWHERE),
        (b"/pubx", Where.ELSEWHERE),
        (b"../sibling", Where.ELSEWHERE),
        (b"../a%20bc/x", Where.ELSEWHERE),
        (b"http://elsewhere/", Where.ELSEWHERE),
        (b"http://host/pub/a%20b/x", Where.MISPLACED),
        (b"https://host:8080/pub/a%20b/x", Where.MISPLACED),
        (b"//elsewhere/pub/a%20b/x", Where.MISPLACED),
        (b"javascript:alert(1)", Where.NO_PLACE),
        (b"JavaScript:history.back()", Where.NO_PLACE),
        (b"mailto:x@y", Where.NO_PLACE),
        (b"http:x", Where.ELSEWHERE),
        (b"%2e%2e%2fetc", Where.REFUSED),
        (b"a%2f..%2f..%2fetc", Where.REFUSED),
        (b"..\\..\\etc", Where.REFUSED),
        (b"a\nb", Where.REFUSED),
        (b"a" * MAX_HREF_BYTES + b"b", Where.REFUSED),
    ],
)
def test_everything_else_is_no_entry(href: bytes, expected: Where) -> None:
    assert where(href) is expected


def test_the_default_port_is_the_same_origin() -> None:
    assert where(b"http://host:80/x", "http://host/") is Where.CHILD
    assert where(b"https://[::1]:443/x", "https://[::1]/") is Where.CHILD
    assert where(b"https://host:80/x", "https://host/") is Where.MISPLACED


def test_the_root_has_nothing_above() -> None:
    assert where(b"../", "http://host/") is Where.SELF
    assert where(b"../x", "http://host/") is Where.CHILD


def test_an_empty_segment_in_the_folder_is_kept_apart() -> None:
    assert where(b"/a//x", "http://host/a//") is Where.CHILD
    assert where(b"/a/x", "http://host/a//") is Where.ELSEWHERE


def test_a_base_in_the_same_folder_changes_nothing() -> None:
    place = Place(URL)
    place.rebase(b"http://host:8080/pub/a%20b/index.html")
    assert place.target(b"x").where is Where.CHILD


def test_a_base_elsewhere_moves_relative_links_only() -> None:
    place = Place(URL)
    place.rebase(b"/pub/")
    assert place.target(b"x").where is Where.ELSEWHERE
    assert place.target(b"a%20b/x").component == b"x"
    assert place.target(b"/pub/a%20b/x").component == b"x"


def test_a_base_on_another_origin_leaves_no_relative_entry() -> None:
    place = Place(URL)
    place.rebase(b"http://elsewhere/pub/a%20b/")
    assert place.target(b"x").where is Where.ELSEWHERE
    assert place.target(b"http://host:8080/pub/a%20b/x").where is Where.CHILD


@given(href=st.one_of(st.binary(max_size=40), st.text("./%2eEfF\\?#:ahtp", max_size=20).map(str.encode)))
def test_no_href_is_an_entry_of_more_than_one_component(href: bytes) -> None:
    target = Place(URL).target(href)
    if target.where is Where.CHILD:
        bare = target.component.removesuffix(b"/")
        assert bare
        assert b"/" not in bare
        assert b"?" not in bare
        assert b"#" not in bare
        assert bare.lower().replace(b"%2e", b".") not in (b".", b"..")
        assert bare in href
    else:
        assert not target.component

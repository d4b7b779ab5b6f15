"""Rules of `core.listing.markup`: links are found as a browser finds them."""

from __future__ import annotations

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.listing.markup import read_page, unescape


def hrefs(page: bytes) -> list[bytes]:
    return [anchor.href for anchor in read_page(page).anchors]


@pytest.mark.parametrize(
    ("tag", "href"),
    [
        (b'<a href="x">', b"x"),
        (b"<a href='x'>", b"x"),
        (b"<a href=x>", b"x"),
        (b"<a href=x/>", b"x/"),
        (b'<A HREF = "x" >', b"x"),
        (b'<a\nclass="y"\nhref\n=\n"x">', b"x"),
        (b'<a/href="x">', b"x"),
        (b'<a class="y"href="x">', b"x"),
        (b'<a href="it\'s">', b"it's"),
        (b'<a title="a > b" href="x">', b"x"),
        (b'<a title=\'href="y"\' href="x">', b"x"),
        (b'<a data-href="y" href="x">', b"x"),
        (b'<a href="x" href="y">', b"x"),
        (b"<a href>", b""),
        (b'<a href="">', b""),
        (b'<a href="a&amp;b">', b"a&b"),
        (b'<a href="a&#38;b">', b"a&b"),
        (b'<a href="&#x2f;x">', b"/x"),
        (b'<a href="a&b">', b"a&b"),
        (b'<a href="a&copy=1">', b"a&copy=1"),
        (b'<a href="a&copyright.txt">', b"a&copyright.txt"),
        (b'<a href="a&amp;amp;b">', b"a&amp;b"),
        (b'<a href="\xff\xfe">', b"\xff\xfe"),
        (b'<a href="x"', b"x"),
    ],
)
def test_href_is_read_from_any_spelling(tag: bytes, href: bytes) -> None:
    assert hrefs(tag) == [href]


@pytest.mark.parametrize(
    "page",
    [
        b'<!-- <a href="x"> -->',
        b'<!--><!-- <a href="x"> ',
        b"<script>document.write('<a href=\"x\">')</script>",
        b'<STYLE>a:after{content:"<a href=x>"}</style >',
        b'<title><a href="x"></title>',
        b'<textarea><a href="x"></textarea>',
        b'<abbr href="x">',
        b'<link href="x">',
        b'<a name="x">',
        b'<img alt="<a href=x>">',
        b'</a href="x">',
        b'<?php <a href="x" ?>',
        b"< a href=x>",
    ],
)
def test_what_looks_like_a_link_elsewhere_is_none(page: bytes) -> None:
    assert hrefs(page) == []


def test_links_after_raw_text_and_comments_are_seen() -> None:
    assert hrefs(b"<script>'<a href=1>'</script><a href=2></a><!-- <a href=3> --><a href=4>") == [b"2", b"4"]


def test_text_is_without_tags_and_references() -> None:
    page = read_page(b"<a href=x><tt> a&lt;b&nbsp;</tt></a>")
    assert page.text_of(page.anchors[0]) == b"a<b"


def test_beside_is_the_rest_of_the_line() -> None:
    page = read_page(b"<pre><a href=x>x</a>  1\n<a href=y>y</a>  2\n</pre>")
    assert [page.beside(anchor) for anchor in page.anchors] == [b"  1", b"  2"]


def test_beside_is_the_rest_of_the_row_in_a_table() -> None:
    page = read_page(b"<tr><td><a href=x>x</a>\n</td><td>1</td></tr><tr><td><a href=y>y</a></td><td>2</td></tr>")
    assert [page.beside(anchor) for anchor in page.anchors] == [b"\n</td><td>1</td>", b"</td><td>2</td>"]


def test_beside_ends_at_a_line_break_so_that_the_next_rows_columns_are_not_taken() -> None:
    page = read_page(b"<pre> 1 <A HREF=x>x</A><br> 2 <A HREF=y>y</A><br></pre>")
    assert [page.beside(anchor) for anchor in page.anchors] == [b"", b""]


def test_title_and_headings() -> None:
    page = read_page(b"<title>\n Index of &lt;x&gt; </title><h1><i>Index</i> of</h1>")
    assert page.title == b"Index of <x>"
    assert page.headings == [b"Index of"]


@given(st.text(max_size=60))
def test_references_written_by_html_escape_are_undone(text: str) -> None:
    assert unescape(html.escape(text).encode("utf-8", "surrogatepass")) == text.encode("utf-8", "surrogatepass")


@given(
    st.lists(
        st.sampled_from([b"<", b"a", b" href", b"=", b'"', b"'", b">", b"x", b"/", b"<!--", b"-->", b"<script", b"&#"]),
        max_size=60,
    )
)
def test_any_run_of_tokens_is_read(tokens: list[bytes]) -> None:
    read_page(b"".join(tokens))


@pytest.mark.parametrize(
    "unit",
    [b"<a ", b'<a "', b"<a href='", b"<!--", b"<script>", b"<title>", b"<tr><a href=x>", b"<a href=x ", b"&#", b"<"],
)
def test_reading_time_grows_with_the_page_only(unit: bytes) -> None:
    """A quadratic reader would need hours for these: no clock is read, the test ends or it does not."""
    read_page(unit * (1_000_000 // len(unit)))

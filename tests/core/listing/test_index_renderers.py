"""Any tree, written as each server writes it, is read back: names byte for byte, kinds, and the sizes that are exact.

The renderers below follow the servers' own escaping (their sources, and the captures in ``tests/samples``).
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangefs.core.entries import Kind
from rangefs.core.listing.index import parse_index
from rangefs.core.listing.moments import SECOND_NS, ZONELESS_NS
from rangefs.core.names import component, legal

PATH = b"/pub/my files/"
URL = "http://host/pub/my%20files/"


@dataclass(frozen=True)
class Node:
    name: bytes
    kind: Kind
    size: int
    mtime_s: int

    @property
    def slash(self) -> bytes:
        return b"/" if self.kind is Kind.FOLDER else b""

    def date(self, form: str) -> bytes:
        return datetime.fromtimestamp(self.mtime_s, UTC).strftime(form).encode()


AWKWARD = st.sampled_from(
    [b"%", b"%2F", b"%%", b"&", b"&amp;", b"<", b">", b'"', b"'", b"?", b"#", b";", b":", b" ", b"\\"]
)
NAMES = st.one_of(
    st.lists(st.one_of(AWKWARD, st.binary(min_size=1, max_size=3)), min_size=1, max_size=20).map(b"".join),
    st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(min_size=200, max_size=255),
).filter(legal)
TREES = st.lists(
    st.builds(
        Node,
        NAMES,
        st.sampled_from(Kind),
        st.integers(0, 2**40),
        st.integers(0, 4_000_000_000).map(lambda second: second // 60 * 60),
    ),
    max_size=12,
    unique_by=lambda node: node.name,
)

# -- how servers escape -------------------------------------------------------


def escaped(raw: bytes, quotes: str = '"') -> bytes:
    """HTML text as C servers write it: only the characters that must be."""
    text = raw.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    return text.replace(b'"', b"&quot;") if '"' in quotes else text


def apache_href(node: Node) -> bytes:
    """ap_os_escape_path in lower case, ``./`` before a colon in a bare name, then ap_escape_html."""
    path = "".join(
        chr(c) if (chr(c).isalnum() and c < 128) or chr(c) in "$-_.+!*'(),:@&=~;" else f"%{c:02x}" for c in node.name
    )
    return escaped((b"./" if b":" in node.name else b"") + path.encode() + node.slash)


def go_href(node: Node, always_dot: bool = False) -> bytes:
    """net/url's String of a relative path, then html/template in an attribute."""
    path = quote(node.name, safe="$&+,:;=@~").encode()
    dot = b"./" if always_dot or b":" in node.name else b""
    return html.escape((dot + path + node.slash).decode()).encode()


def cut(raw: bytes, width: int) -> bytes:
    return escaped(raw) if len(raw) <= width else escaped(raw[: width - 3]) + b"..&gt;"


# -- how servers list ---------------------------------------------------------


def nginx(tree: list[Node], inexact: bool = False) -> bytes:
    rows = []
    for node in tree:
        size = b"%d" % node.size
        if inexact and node.size > 9999:
            size = b"%dK" % (node.size >> 10) if node.size < 1 << 20 else b"%dM" % (node.size >> 20)
        rows.append(
            b'<a href="%s">%s</a>  %s  %s\r\n'
            % (
                quote(node.name, safe="").encode() + node.slash,
                cut(node.name + node.slash, 50),
                node.date("%d-%b-%Y %H:%M"),
                (b"-" if node.kind is Kind.FOLDER else size).rjust(19),
            )
        )
    title = b"Index of " + escaped(PATH)
    head = b"<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<h1>%s</h1><hr><pre>" % (title, title)
    return head + b'<a href="../">../</a>\r\n' + b"".join(rows) + b"</pre><hr></body>\r\n</html>\r\n"


def apache_size(node: Node) -> bytes:
    """apr_strfsize."""
    if node.kind is Kind.FOLDER:
        return b"  - "
    if node.size < 973:
        return b"%3d " % node.size
    return b"%3dK" % (node.size >> 10 & 1023)


APACHE_HEAD = (
    b"<html>\n <head>\n  <title>Index of /pub/my files</title>\n </head>\n <body>\n<h1>Index of /pub/my files</h1>\n"
)
APACHE_SORTS = b'<a href="?C=N;O=D">Name</a> <a href="?C=M;O=A">Last modified</a> <a href="?C=S;O=A">Size</a>'


def apache_plain(tree: list[Node]) -> bytes:
    rows = [b'<li><a href="%s"> %s</a></li>\n' % (apache_href(node), escaped(node.name + node.slash)) for node in tree]
    return (
        APACHE_HEAD
        + b'<ul><li><a href="/pub/"> Parent Directory</a></li>\n'
        + b"".join(rows)
        + b"</ul>\n</body></html>\n"
    )


def apache_fancy(tree: list[Node], icons: bool = False) -> bytes:
    rows = []
    for node in tree:
        href, icon = apache_href(node), b'<img src="/icons/x.gif" alt="[   ]">'
        lead = b'<a href="%s">%s</a> ' % (href, icon) if icons else b"      "
        text = cut(node.name + node.slash, 23)
        rows.append(
            b'%s<a href="%s">%s</a>  %s %s  \n' % (lead, href, text, node.date("%Y-%m-%d %H:%M"), apache_size(node))
        )
    parent = b'<hr>      <a href="/pub/">Parent Directory</a>                             -   \n'
    return APACHE_HEAD + b"<pre>      " + APACHE_SORTS + parent + b"".join(rows) + b"<hr></pre>\n</body></html>\n"


def apache_table(tree: list[Node]) -> bytes:
    rows = [
        b'<tr><td valign="top">&nbsp;</td><td><a href="%s">%s</a></td><td align="right">%s  </td>'
        b'<td align="right">%s</td></tr>\n'
        % (apache_href(node), escaped(node.name + node.slash), node.date("%Y-%m-%d %H:%M"), apache_size(node))
        for node in tree
    ]
    return (
        APACHE_HEAD
        + b"<table><tr><th>"
        + APACHE_SORTS
        + b"</th></tr>\n"
        + b"".join(rows)
        + b"</table>\n</body></html>\n"
    )


def lighttpd(tree: list[Node]) -> bytes:
    rows = [
        b'<tr class="d"><td class="n"><a href="%s">%s</a>%s</td><td class="m">%s</td><td class="s">%s</td></tr>\n'
        % (
            quote(node.name, safe="").encode() + node.slash,
            escaped(node.name),
            node.slash,
            node.date("%Y-%b-%d %H:%M:%S"),
            b"- &nbsp;" if node.slash else b"%.1fK" % (node.size / 1024),
        )
        for node in tree
    ]
    head = b'<title>Index of /pub/my files/</title><table summary="Directory Listing"><tbody>\n'
    return (
        head + b'<tr class="d"><td class="n"><a href="../">..</a>/</td></tr>\n' + b"".join(rows) + b"</tbody></table>"
    )


def caddy_html(tree: list[Node]) -> bytes:
    rows = [
        b'<tr class="file">\n<td></td>\n<td>\n<a href="%s">\n<svg><path d="M9"/></svg>\n<span class="name">%s</span>\n'
        b'</a>\n</td>\n%s\n<td class="timestamp hideable">\n<time datetime="%s">x</time>\n</td>\n</tr>\n'
        % (
            go_href(node, always_dot=True),
            html.escape(node.name.decode("utf-8", "replace")).encode() + node.slash,
            b"<td>&mdash;</td>"
            if node.slash
            else b'<td class="size" data-size="%d"><div>1.0 MiB</div></td>' % node.size,
            node.date("%Y-%m-%dT%H:%M:%SZ"),
        )
        for node in tree
    ]
    head = b'<title>my files</title><h1><a href="../">pub</a>/<a href="">my files</a>/</h1><table><tbody>'
    return head + b"".join(rows) + b'</tbody></table><footer><a href="https://caddyserver.com">x</a></footer>'


def rclone(tree: list[Node]) -> bytes:
    rows = [
        b'<tr class="file"><td><span class="name"><a href="%s">%s</a></span>%s</td>\n<td data-order="%d">%s</td>\n'
        b'<td class="hideable"><time datetime="%s">x</time></td></tr>\n'
        % (
            go_href(node),
            html.escape(node.name.decode("utf-8", "replace")).encode() + node.slash,
            b'<a class="zip" href="%s?download=zip">x</a>' % go_href(node) if node.slash else b"",
            -1 if node.slash else node.size,
            b"&mdash;" if node.slash else b"<size>%d</size>" % node.size,
            node.date("%Y-%m-%d %H:%M:%S &#43;0000 UTC"),
        )
        for node in tree
    ]
    return b'<title>/pub/my files</title><h1><a href="../">pub</a></h1><table>' + b"".join(rows) + b"</table>"


def python_server(tree: list[Node]) -> bytes:
    rows = []
    for node in tree:
        name = os.fsdecode(node.name)
        href = quote(name + node.slash.decode(), errors="surrogatepass").encode()
        text = html.escape(name, quote=False).encode("utf-8", "surrogateescape")
        rows.append(b'<li><a href="%s">%s</a></li>\n' % (href, text + node.slash))
    title = b"Directory listing for /pub/my files/"
    return b"<title>%s</title></head>\n<body>\n<h1>%s</h1>\n<ul>\n" % (title, title) + b"".join(rows) + b"</ul>\n<hr>\n"


def fancyindex(tree: list[Node]) -> bytes:
    rows = [
        b'<tr><td class="link"><a href="%s" title="%s">%s</a></td><td class="size">%s</td>'
        b'<td class="date">%s</td></tr>\n'
        % (
            quote(node.name, safe="").encode() + node.slash,
            escaped(node.name),
            escaped(node.name + node.slash),
            b"-" if node.slash else b"%19d" % node.size,
            node.date("%Y-%b-%d %H:%M"),
        )
        for node in tree
    ]
    return b'<h1>Index of /pub/my files/</h1><table id="list"><tbody>' + b"".join(rows) + b"</tbody></table>"


def nginx_json(tree: list[Node]) -> bytes:
    rows = []
    for node in tree:
        name = node.name.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        name = b"".join(b"\\u%04X" % c if c < 32 else bytes([c]) for c in name)
        kind = b"directory" if node.slash else b"file"
        size = b"" if node.slash else b', "size":%d' % node.size
        date = node.date("%a, %d %b %Y %H:%M:%S GMT")
        rows.append(b'{ "name":"%s", "type":"%s", "mtime":"%s"%s }' % (name, kind, date, size))
    return b"[\r\n" + b",\r\n".join(rows) + b"\r\n]"


def caddy_json(tree: list[Node]) -> bytes:
    items = [
        {
            "name": node.name.decode("utf-8", "replace") + node.slash.decode(),
            "size": node.size,
            "url": html.unescape(go_href(node, always_dot=True).decode()),
            "mod_time": node.date("%Y-%m-%dT%H:%M:%SZ").decode(),
            "mode": 420,
            "is_dir": node.kind is Kind.FOLDER,
            "is_symlink": False,
        }
        for node in tree
    ]
    return json.dumps(items).encode()


Sized = Callable[[Node], bool]


@dataclass(frozen=True)
class Server:
    render: Callable[[list[Node]], bytes]
    sized: Sized  #: is the size exact?
    precision_ns: int | None  #: None: no times
    content_type: str = "text/html; charset=utf-8"


def always(node: Node) -> bool:
    return True


def never(node: Node) -> bool:
    return False


SERVERS = {
    "nginx": Server(nginx, always, ZONELESS_NS),
    "nginx inexact": Server(lambda tree: nginx(tree, inexact=True), lambda node: node.size <= 9999, ZONELESS_NS),
    "apache plain": Server(apache_plain, never, None),
    "apache fancy": Server(apache_fancy, lambda node: node.size < 973, ZONELESS_NS),
    "apache icons": Server(lambda tree: apache_fancy(tree, icons=True), lambda node: node.size < 973, ZONELESS_NS),
    "apache table": Server(apache_table, lambda node: node.size < 973, ZONELESS_NS),
    "lighttpd": Server(lighttpd, never, ZONELESS_NS),
    "caddy html": Server(caddy_html, always, SECOND_NS),
    "rclone": Server(rclone, always, SECOND_NS),
    "http.server": Server(python_server, never, None),
    "fancyindex": Server(fancyindex, always, ZONELESS_NS),
    "nginx json": Server(nginx_json, always, SECOND_NS, "application/json"),
    "caddy json": Server(caddy_json, always, 0, "application/json"),
}


@pytest.mark.parametrize("name", SERVERS)
@settings(deadline=None, max_examples=40)
@given(tree=TREES)
def test_a_tree_is_read_back(name: str, tree: list[Node]) -> None:
    server = SERVERS[name]
    listing = parse_index(server.render(tree), server.content_type, URL, b"my%20files/")
    assert listing.refused == 0
    assert [(entry.name, entry.kind) for entry in listing.entries] == [
        (component(node.name).name, node.kind) for node in tree
    ]
    for entry, node in zip(listing.entries, tree, strict=True):
        exact = node.kind is Kind.FILE and server.sized(node)
        assert entry.size == (node.size if exact else None)
        timed = server.precision_ns is not None
        assert entry.mtime_ns == (node.mtime_s * SECOND_NS if timed else None)
        assert entry.mtime_precision_ns == (server.precision_ns if timed else 0)
        assert entry.key.startswith(b"my%20files/")
        assert entry.key.endswith(b"/") == (node.kind is Kind.FOLDER)

"""How a parser's time grows with its input: the same mark over and over, at n and at 2n bytes.

    python -m tests.fuzz.growth [--bytes 524288] [TARGET …]

A ratio near 2 is linear, near 4 quadratic. Exit status 1 where one is over 3 and takes longer than a blink: a pattern
that a hostile server could send.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.fuzz.targets import TARGETS

MARKS = (
    *(
        b"<",
        b">",
        b"&",
        b'"',
        b"'",
        b"=",
        b"/",
        b" ",
        b"\t",
        b"\n",
        b"\\",
        b"[",
        b"{",
        b"(",
        b"%",
        b"-",
        b"0",
        b"a",
        b"\x00",
    ),
    *(
        b"<a ",
        b"<a href=",
        b'<a href="',
        b'<a href="x',
        b"<a href=x>",
        b"<a href=x>x</a>\n",
        b"<a href='x'><b>",
        b"</a>",
    ),
    *(b"<a href=x>x</a> 01-Jan-2020 00:00 5\n", b"<a href=x>x</a>   ", b"<tr><td>", b"<td>", b"<title>", b"<h1>"),
    *(
        b"<!--",
        b"-->",
        b"<!",
        b"<?",
        b"<script>",
        b"</script",
        b"<base href=x>",
        b"&#x",
        b"&amp",
        b"&lt;",
        b"<p>",
        b"<pre>",
    ),
    *(
        b"a=b ",
        b'a="b" ',
        b"a = ",
        b"<x/",
        b"<x a",
        b"<x a=",
        b'<time datetime="',
        b'<td data-size="',
        b"1,000 ",
        b"> 1",
    ),
    *(
        b"[[",
        b'[{"a":',
        b'{"a":{',
        b'{"name":"x","type":"file"},',
        b'"\\u0041',
        b"1e5,",
        b"9",
        b"<a><",
        b"<a>",
        b"<a/>",
    ),
    *(
        b"../",
        b"%2e/",
        b"//",
        b"http:",
        b"a:",
        b"?",
        b"#",
        b";",
        b",",
        b"bytes ",
        b"W/",
        b"\r\n",
        b"X: y\r\n",
        b"1\r\na\r\n",
    ),
    *(
        b"Index of ",
        b"Index of  ",
        b"parent ",
        b"Last modified ",
        b"GMT ",
        b"Mon, 01 Jan 2020 ",
        b"../x ",
        b"..>",
        b"\xc2\xa0",
    ),
)
BEFORE = {
    "html": (b"", b"<h1>Index of /</h1>", b"<title>", b'<a href="x">', b"<table><tr><td>"),
    "json": (b"", b"[", b'["'),
    "xml": (b"", b"<list>", b"<list><file>"),
    "s3": (b"", b"<ListBucketResult>", b"<ListBucketResult><Contents><Key>"),
    "azure": (b"", b"<EnumerationResults>", b"<EnumerationResults><Blobs><Blob><Name>"),
    "gcs": (b"", b'{"items":['),
    "webdav": (b"", b'<D:multistatus xmlns:D="DAV:">', b'<D:multistatus xmlns:D="DAV:"><D:response><D:href>'),
    "catalog": (b"", b'{"path":"', b"path,url\n", b"<metalink>"),
    "wire": (
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
}
BLINK_S = 0.25
SUSPECT, STEEP = 2.7, 3.0


def took_s(name: str, data: bytes) -> float:
    began = time.process_time()
    TARGETS[name].play(data)
    return time.process_time() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--bytes", type=int, default=1 << 19)
    words = parser.parse_args()
    steep = []
    for name in words.targets or TARGETS:
        worst = (0.0, 0.0, b"", b"")
        for before in BEFORE.get(name, (b"",)):
            for mark in MARKS:
                first = took_s(name, before + mark * (words.bytes // len(mark)))
                if first < BLINK_S / 20:
                    continue
                second = took_s(name, before + mark * (2 * words.bytes // len(mark)))
                ratio = second / first
                if ratio > SUSPECT and second > BLINK_S:  # a busy machine, perhaps: the better of two
                    ratio = min(ratio, took_s(name, before + mark * (2 * words.bytes // len(mark))) / first)
                if ratio > STEEP and second > BLINK_S:
                    steep.append((name, before, mark, ratio, second))
                worst = max(worst, (second, ratio, before, mark))
        second, ratio, before, mark = worst
        what = f"{before!r} and {mark!r} over and over"
        print(f"{name}: the slowest {2 * words.bytes} bytes took {second:.2f} s, {ratio:.1f} x half of them: {what}")
    for name, before, mark, ratio, second in steep:
        print(f"STEEP {name}: {before!r} and {mark!r} over and over: {ratio:.1f} x, {second:.2f} s")
    return 1 if steep else 0


if __name__ == "__main__":
    sys.exit(main())

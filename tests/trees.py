"""What the servers serve: deterministic bytes, sizes at the edges, deep folders, awkward names, old times."""

from __future__ import annotations

import os
import random
import zlib
from pathlib import Path

MiB = 1 << 20
BIG_SIZE = 96 * MiB
EDGE_SIZES = (0, 1, 2, 511, 512, 4095, 4096, 4097, 65_535, 65_536, 65_537, 131_071, 131_073, 150_000, MiB, 3 * MiB + 7)
OLD_NS = 1_500_000_000 * 1_000_000_000  # July 2017: well aged on every server

# Names a user may meet on a web server, and what each could be taken for.
AWKWARD_NAMES: tuple[bytes, ...] = (
    b"two words.txt",
    b" leading and trailing ",
    b"100%.txt",
    b"%41 is not A",
    b"a%2Fb",
    b"%",
    b"a+b.txt",
    b"C#.txt",
    b"what?.txt",
    b"?C=N;O=D",
    b"a=b&c=d",
    b"&amp;.txt",
    b'it\'s "quoted".txt',
    b"<tag>.html",
    b"semi;colon",
    b"co:lon",
    b"http:",
    b"~tilde~",
    b"back\\slash",
    b"new\nline",
    b"tab\there",
    b"\x01control",
    b"-rf",
    b"--",
    b".hidden",
    b"...",
    b"..data",
    b"[brackets]{braces}",
    b"comma,dollar$at@bang!",
    b"star*caret^pipe|tick`",
    "ünïcode – 漢字 🎈".encode(),
    "é as two code points: e\u0301".encode(),
    "é as one: \u00e9".encode(),
    "right-to-left \u202e txt".encode(),
    b"latin1 \xe9 and \xff\xfe",
    b"..\xc0\xaf",
    b"x" * 255,
    "ü".encode() * 127,
    b"name that autoindex pages cut off because it is far too long for their column.txt",
)


def content(name: str, size: int) -> bytes:
    """Incompressible bytes that depend on `name` alone: two names, two versions, never share a block."""
    return random.Random(zlib.crc32(name.encode())).randbytes(size)


def first_difference(seen: bytes, wanted: bytes) -> str | None:
    """Where two long runs of bytes part, in words; None where they are equal. (pytest's own diff takes minutes.)"""
    if seen == wanted:
        return None
    length = min(len(seen), len(wanted))
    start = 0
    for step in (MiB, 4096, 1):  # find the first block that differs, then look closer
        while start < length and seen[start : min(start + step, length)] == wanted[start : min(start + step, length)]:
            start += step
    return f"{len(seen)} bytes instead of {len(wanted)}, the first difference at {min(start, length)}"


def age(root: Path, at_ns: int = OLD_NS) -> None:
    """Set every time under `root` to the past, each file's a different minute: a young file is not kept, by design."""
    step = 0
    for folder, names, files in os.walk(os.fsencode(root), topdown=False):
        for name in [*files, *names]:
            step += 1
            when = at_ns + step * 61_000_000_000
            os.utime(os.path.join(folder, name), ns=(when, when))
    os.utime(root, ns=(at_ns, at_ns))


def sizes_tree(root: Path) -> None:
    """Files at the edges of every block size in play."""
    root.mkdir(parents=True)
    for size in EDGE_SIZES:
        (root / f"size-{size}.bin").write_bytes(content(f"size-{size}", size))


def text_tree(root: Path) -> None:
    """Folders within folders with text to grep: each 7th file of 60 holds the needle."""
    for number in range(60):
        folder = root / f"d{number % 5}" / f"e{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"record {number} line {line}\n" for line in range(40)]
        if number % 7 == 0:
            lines[20] = "needle\n"
        (folder / f"f{number:02}.txt").write_text("".join(lines))
    deep = root.joinpath(*(f"level-{depth}" for depth in range(12)))
    deep.mkdir(parents=True)
    (deep / "bottom.txt").write_text("found\n")
    (root / "empty").mkdir()


def names_tree(root: Path) -> None:
    """Every awkward name as a file, and most again as a folder that holds one."""
    root.mkdir(parents=True)
    folders = root / "folders"
    folders.mkdir()
    for name in AWKWARD_NAMES:
        body = b"content of " + name + b"\n"
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(body)
        folder = os.path.join(os.fsencode(folders), name)
        os.mkdir(folder)
        with open(os.path.join(folder, b"inside"), "wb") as file:
            file.write(body)


def sample_tree(root: Path) -> None:
    """Everything above, and one file of 96 MiB, under `root`."""
    root.mkdir(parents=True, exist_ok=True)
    sizes_tree(root / "sizes")
    text_tree(root / "text")
    names_tree(root / "names")
    with (root / "big.bin").open("wb") as big:
        for part in range(BIG_SIZE // (8 * MiB)):
            big.write(content(f"big-{part}", 8 * MiB))
    age(root)

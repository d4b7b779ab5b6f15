"""Names that the kernel has looked at: memory a live inode, and seconds of `find`, over 10,000 and 100,000 files.

    python -m tests.bench.inodes [--quick]

A catalog of that many files in folders of 1,000 is mounted, and `find -type f -size +0` walks it: each name gets an
inode, which stays until the kernel forgets it. `list` is the memory of the catalog itself, there before the walk (room
that parsing it has left is used again first). The last line is the slope between the two sizes: resident bytes that one
more inode costs. Needs /dev/fuse and find.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.measure import MiB, Point, Table, arguments, number, resident_bytes, slope
from tests.bench.stage import seconds
from tests.mounts import RangefsMount

SIZES = (10_000, 100_000)
IN_A_FOLDER = 1_000


@dataclass(frozen=True, slots=True)
class Walked:
    """Memory of the mount in bytes: idle with the list loaded, and after the walk; and how long that took."""

    listed_bytes: int
    walked_bytes: int
    took_s: float


def write_catalog(path: Path, names: int) -> None:
    with path.open("w") as catalog:
        for n in range(names):
            line = {
                "path": f"folder-{n // IN_A_FOLDER:04}/file-{n:07}.parquet",
                "url": f"http://127.0.0.1:9/{n}",
                "size": 1000 + n,
                "etag": f'"{n:032x}"',
                "mtime": "2020-01-01T00:00:00Z",
            }
            catalog.write(json.dumps(line) + "\n")


def walk(names: int) -> Walked:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        base = Path(folder)
        write_catalog(base / "files.jsonl", names)
        (base / "m").mkdir()
        with RangefsMount(base / "m", f"catalog+file://{base}/files.jsonl") as mount:
            next(mount.path.iterdir())
            listed = resident_bytes(mount.pid)
            command = ["find", str(mount.path), "-type", "f", "-size", "+0", "-printf", "x"]
            found = []
            took = seconds(lambda: found.append(subprocess.run(command, check=True, capture_output=True).stdout))
            assert len(found[0]) == names, f"find saw {len(found[0])} of {names} files"
            return Walked(listed, resident_bytes(mount.pid), took)


def main(argv: Sequence[str] | None = None) -> None:
    sizes = (500, 2_000) if arguments(__doc__, argv).quick else SIZES
    table = Table("names", "find s", "µs a name", "list MiB", "more MiB", "bytes an inode", widths=[12])
    points = []
    for names in sizes:
        seen = walk(names)
        more = seen.walked_bytes - seen.listed_bytes
        points.append(Point(names, more))
        table.row(
            f"{names:,}",
            number(seen.took_s, 2),
            number(1e6 * seen.took_s / names, 1),
            number(seen.listed_bytes / MiB, 1),
            number(more / MiB, 1),
            number(more / names),
        )
    print(f"one more inode: {slope(points):,.0f} bytes")


if __name__ == "__main__":
    main()

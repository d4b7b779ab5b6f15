"""A reader in a process of its own: one part of a file on the mount, front to back, compared with the truth.

python part_reader.py ON_MOUNT TRUTH START END BLOCK
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    on_mount, truth_path = sys.argv[1:3]
    start, end, block = (int(word) for word in sys.argv[3:])
    with open(on_mount, "rb", buffering=0) as file, open(truth_path, "rb", buffering=0) as truth:
        for offset in range(start, end, block):
            count = min(block, end - offset)
            seen = os.pread(file.fileno(), count, offset)
            if seen != os.pread(truth.fileno(), count, offset):
                sys.exit(f"{on_mount}: {count} bytes at {offset} are wrong ({len(seen)} came)")


if __name__ == "__main__":
    main()

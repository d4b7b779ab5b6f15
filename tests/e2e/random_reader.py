"""A reader in a process of its own: random seeks and preads of a file on the mount, each compared with the truth.

    python random_reader.py ON_MOUNT TRUTH SEED READS [START END]

Reads begin in [START, END), now and then past the end of the file. Exit status 1 and one line at the first difference.
"""

from __future__ import annotations

import os
import random
import sys

SIZES = (1, 7, 512, 4096, 4097, 20_000, 65_536, 131_072, 300_000)


def main() -> None:
    on_mount, truth_path = sys.argv[1:3]
    seed, reads, *span = (int(word) for word in sys.argv[3:])
    draw = random.Random(seed)
    with open(on_mount, "rb", buffering=0) as file, open(truth_path, "rb", buffering=0) as truth:
        size = os.fstat(truth.fileno()).st_size
        start, end = span or (0, size + 2)
        for number in range(reads):
            offset, count = draw.randrange(start, max(end, start + 1)), draw.choice(SIZES)
            if number % 3 == 0:
                file.seek(offset)
                seen = file.read(count)
            else:
                seen = os.pread(file.fileno(), count, offset)
            if seen != os.pread(truth.fileno(), count, offset):
                sys.exit(f"{on_mount}: read {number} of seed {seed}: {count} bytes at {offset} are wrong ({len(seen)})")


if __name__ == "__main__":
    main()

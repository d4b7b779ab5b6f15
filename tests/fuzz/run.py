"""The long form: `tests.fuzz.targets` for as long as wanted, guided by coverage where atheris is installed.

    python -m tests.fuzz.run [--seconds 60] [--plain] [TARGET …]

Each target gets its share of the time. What breaks one is kept in ``tests/fuzz/corpus/TARGET/`` and printed; exit
status 1. Under atheris (``pip install atheris``) each target runs in a process of its own; ``--plain`` mutates blindly.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def keep(name: str, data: bytes) -> Path:
    folder = CORPUS / name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(data).hexdigest()[:12]
    path.write_bytes(data)
    return path


def run_plainly(name: str, seconds: float, seed: int) -> bool:
    """False where something was found."""
    from tests.fuzz.mutations import mutated
    from tests.fuzz.targets import TARGETS

    draw = random.Random(seed)
    pool = TARGETS[name].seeds() or [b""]
    until, count, slowest = time.monotonic() + seconds, 0, 0.0
    while time.monotonic() < until:
        data = mutated(draw.choice(pool), draw)
        began = time.perf_counter()
        try:
            TARGETS[name].play(data)
        except Exception:
            print(f"{name}: {keep(name, data)}\n{traceback.format_exc()}")
            return False
        took, count = time.perf_counter() - began, count + 1
        slowest = max(slowest, took)
        if len(pool) < 500 and draw.random() < 0.02:
            pool.append(data)
    print(f"{name}: {count} inputs, the slowest took {1000 * slowest:.0f} ms")
    return True


def run_guided(name: str, seconds: float) -> bool:
    """As `run_plainly`, by coverage: in a process of its own, since libFuzzer never comes back."""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "artifact-"
        words = [sys.executable, "-m", "tests.fuzz.run", "--child", name]
        limits = [f"-max_total_time={int(seconds)}", "-timeout=20", "-rss_limit_mb=2048", f"-artifact_prefix={made}"]
        seeds = Path(scratch) / "seeds"
        seeds.mkdir()
        from tests.fuzz.targets import TARGETS

        for number, seed in enumerate(TARGETS[name].seeds()):
            (seeds / str(number)).write_bytes(seed[:4000])
        ran = subprocess.run([*words, *limits, "-verbosity=1", str(seeds)], capture_output=True, text=True, check=False)
        for artifact in Path(scratch).glob("artifact-*"):
            print(f"{name}: {keep(name, artifact.read_bytes())}")
        said = [line for line in ran.stderr.splitlines() if "DONE" in line or "Done" in line]
        print(f"{name}: {said[-1] if said else ran.stderr[-3000:]}")
        return ran.returncode == 0


def be_child(name: str, words: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=["rangefs"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *words], TARGETS[name].play)
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--plain", action="store_true")
    words = parser.parse_args()
    from tests.fuzz.targets import TARGETS

    names = words.targets or list(TARGETS)
    guided = not words.plain and importlib.util.find_spec("atheris") is not None
    print(f"{'guided by coverage' if guided else f'blind, seed {words.seed}'}, {words.seconds:g} s for {len(names)}")
    share_s = words.seconds / len(names)
    fine = [run_guided(name, share_s) if guided else run_plainly(name, share_s, words.seed) for name in names]
    return 0 if all(fine) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        be_child(sys.argv[2], sys.argv[3:])
    sys.exit(main())

"""What holds for a mounted bucket whatever the store: each check puts objects and reads them through a real mount."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import time
from pathlib import Path
from urllib.parse import quote, unquote

from tests.e2e.test_changes import BLOCK, check_read, read_until
from tests.emulators import AWKWARD_KEYS, Emulator, shown_content
from tests.mounts import RangefsMount
from tests.trees import content, first_difference


def contents_below(root: Path) -> dict[bytes, bytes]:
    """Every file's path and bytes."""
    found = {}
    for folder, _, names in os.walk(os.fsencode(root)):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found[os.path.join(folder, name)] = file.read()
    return found


def check_awkward_keys(server: Emulator, mount: RangefsMount) -> None:
    """Each object's content says its key: all are there, once, whole, at the size that `stat` says."""
    with mount:
        found = contents_below(mount.path)
        assert sorted(found.values()) == sorted(shown_content(key) for key in AWKWARD_KEYS)
        for path, body in found.items():
            assert os.stat(path).st_size == len(body), path
        for plain in ("two words.txt", "100%.txt", "a+b.txt", "a/x", "what?.txt", "both/inside", "n" * 255):
            assert (mount.path / plain).read_bytes() == shown_content(plain)
        assert (mount.path / "both").is_dir()
        assert mount.status()["reads"]["errors"] == 0


def check_ranges_of_a_large_object(server: Emulator, mount: RangefsMount) -> None:
    body = content("large", 5_000_003)
    server.put("large.bin", body)
    with mount:
        with (mount.path / "large.bin").open("rb") as file:
            for start in (4_999_990, 0, 2_500_000, 131_070):
                file.seek(start)
                assert file.read(100_000) == body[start : start + 100_000]
        assert first_difference((mount.path / "large.bin").read_bytes(), body) is None
        before = mount.status()["upstream"]["bytes"]
        assert first_difference((mount.path / "large.bin").read_bytes(), body) is None
        assert mount.status()["upstream"]["bytes"] - before < 4096


def check_stored_gzip_is_served_as_stored(server: Emulator, mount: RangefsMount) -> None:
    raw = gzip.compress(b"text that compresses well\n" * 4000)
    server.put("text.gz-encoded", raw, {"Content-Encoding": "gzip"})
    server.put("plain", b"plain")
    with mount:
        assert (mount.path / "text.gz-encoded").stat().st_size == len(raw)
        assert (mount.path / "text.gz-encoded").read_bytes() == raw
        assert (mount.path / "plain").read_bytes() == b"plain"


def check_a_replaced_object(server: Emulator, mount: RangefsMount) -> None:
    """An open handle sees its own version or ESTALE, a new open the new one, though size and second are the same."""
    old, new = content("old", 24_000_000), content("new", 24_000_000)
    server.put("file", old)
    with mount:
        on_mount = mount.path / "file"
        with on_mount.open("rb") as file:
            assert check_read(file.fileno(), 0, old)
            server.put("file", new)
            outcomes = [check_read(file.fileno(), offset, old) for offset in range(BLOCK, len(old), BLOCK)]
        assert not outcomes[-1], "not all of it can have been fetched before the change"
        read_until(on_mount, new, limit_s=10)


def check_pages(server: Emulator, mount: RangefsMount, count: int) -> None:
    """A folder of more objects than a page has."""
    wanted = {f"item-{number:05}" for number in range(count)}
    for name in wanted:
        server.put(f"many/{name}", b"x")
    with mount:
        assert set(os.listdir(mount.path / "many")) == wanted
        before = mount.status()["upstream"]["requests"]
        assert sum(entry.stat().st_size for entry in os.scandir(mount.path / "many")) == count
        assert mount.status()["upstream"]["requests"] == before


def check_refusal(mount: RangefsMount, *words: str, status: int = 1) -> None:
    """The mount fails with one line that has these words, and leaves nothing mounted."""
    mount.path.mkdir(parents=True)
    ran = subprocess.run(
        mount.mount_command(),
        env=mount.environment(),
        cwd=mount.base,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == status, ran.stderr
    said = [line for line in ran.stderr.splitlines() if line.strip()]
    assert len(said) == 1, ran.stderr
    for word in words:
        assert word in said[0], said[0]


def check_nothing_written(mount: RangefsMount, secrets: list[str]) -> None:
    """None of the secrets, nor their percent-encoded or base64 forms, is in the log, the cache, or any argument."""
    planted = [form for secret in secrets for form in forms(secret)]
    process = Path("/proc") / str(mount.pid)
    settle(mount)
    written = [path for path in mount.base.rglob("*") if mount.path not in path.parents and path.is_file()]
    assert written
    for path in [*written, process / "cmdline"]:
        text = path.read_bytes()
        assert not [form for form in planted if form in text], path


def settle(mount: RangefsMount) -> None:
    """What was read has been stored: until then files of the cache change their names while one looks."""
    give_up = time.monotonic() + 30
    while mount.status()["memory"]["buffers_bytes"] or any(mount.base.glob("cache/staging/*")):
        assert time.monotonic() < give_up, mount.status()
        time.sleep(0.05)


def forms(secret: str) -> set[bytes]:
    """A secret as it may have been written."""
    plain = unquote(secret)
    return {secret.encode(), plain.encode(), quote(plain, safe="").encode(), base64.b64encode(plain.encode())[:-3]}

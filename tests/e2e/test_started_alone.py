"""The server is away when the mount begins: what an earlier mount kept is served, and all is well once it is back."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.mounts import RangefsMount
from tests.servers import Nginx, PythonHttp
from tests.serving import Server, draw_port
from tests.trees import MiB, age, content, first_difference

pytestmark = pytest.mark.mount

OUTAGE = {errno.EIO, errno.ETIMEDOUT}
CACHED = content("cached", 3 * MiB)
QUICK_S = 6.0  # 2 s of patience, and a start of Python on a busy machine


@pytest.fixture
def server(start_server: StartServer, www: Path) -> Server:
    (www / "folder").mkdir()
    (www / "folder" / "cached.bin").write_bytes(CACHED)
    (www / "folder" / "cold.bin").write_bytes(b"cold")
    (www / "unseen").mkdir()
    age(www)
    return start_server(Nginx, www)


def xattr(path: Path, name: str) -> str:
    return os.getxattr(path, f"user.rangefs.{name}").decode()


def eventually(holds: Callable[[], bool], limit_s: float = 20) -> None:
    give_up = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.2)


def fill(mount: RangefsMount) -> None:
    """What an earlier mount leaves: listings, and one file."""
    mount.start()
    os.listdir(mount.path)
    assert len(os.listdir(mount.path / "folder")) == 2
    assert first_difference((mount.path / "folder" / "cached.bin").read_bytes(), CACHED) is None
    mount.stop()


def check_alone(mount: RangefsMount) -> None:
    """What holds while nobody answers."""
    seen = mount.path / "folder" / "cached.bin"
    assert sorted(os.listdir(mount.path)) == ["folder", "unseen"]
    assert sorted(os.listdir(mount.path / "folder")) == ["cached.bin", "cold.bin"]
    assert seen.stat().st_size == len(CACHED)
    assert first_difference(seen.read_bytes(), CACHED) is None
    assert xattr(seen, "state") == "stale"
    assert 0 <= int(xattr(seen, "stale_for")) < 120
    assert "127.0.0.1" in xattr(seen, "reason")
    assert xattr(mount.path / "folder", "state") == "stale"
    for action in ((mount.path / "folder" / "cold.bin").read_bytes, lambda: os.listdir(mount.path / "unseen")):
        with pytest.raises(OSError, match="Errno") as refused:
            action()
        assert refused.value.errno in OUTAGE
    status = mount.status()
    assert status["state"] == "offline"
    assert "has not answered for" in status["reasons"][0]


@pytest.mark.parametrize("way", ["stopped", "paused"])
def test_a_mount_starts_without_its_server_and_recovers_by_itself(
    way: str, server: Server, make_mount: MakeMount, www: Path
) -> None:
    mount = make_mount(server.url, read_timeout="4s", metadata_ttl="1s")
    fill(mount)
    (server.stop if way == "stopped" else server.pause)()
    began = time.monotonic()
    mount.expect_log(".")  # an outage is worth warnings
    with mount:
        assert time.monotonic() - began < QUICK_S
        check_alone(mount)
        (server.start if way == "stopped" else server.resume)()
        eventually(lambda: mount.status()["state"] == "ok")  # though nobody reads
        assert (mount.path / "folder" / "cold.bin").read_bytes() == b"cold"
        assert os.listdir(mount.path / "unseen") == []
        (www / "unseen" / "new").write_bytes(b"new")
        eventually(lambda: os.listdir(mount.path / "unseen") == ["new"])
        server.forget()
        seen = mount.path / "folder" / "cached.bin"
        assert first_difference(seen.read_bytes(), CACHED) is None
        assert xattr(seen, "state") == "fresh"
        assert (xattr(seen, "stale_for"), xattr(seen, "reason")) == ("0", "")
        assert server.body_bytes("/folder/cached.bin") == 0, "what was cached is not fetched again"


@pytest.mark.parametrize("source", ["folder", "folder/cached.bin"])
def test_what_kind_of_root_it_is_is_found_out_later(source: str, server: Server, make_mount: MakeMount) -> None:
    """A folder without its slash, which redirects, and a single file: only connecting tells which is which."""
    mount = make_mount(server.url + source, read_timeout="4s", metadata_ttl="1s")
    seen = mount.path / "cached.bin"
    mount.start()
    assert first_difference(seen.read_bytes(), CACHED) is None
    url = xattr(seen, "url")
    mount.stop()
    server.stop()
    mount.expect_log(".")
    with mount:
        assert first_difference(seen.read_bytes(), CACHED) is None
        assert xattr(seen, "url") == url
        server.start()
        eventually(lambda: mount.status()["state"] == "ok")
        assert first_difference(seen.read_bytes(), CACHED) is None
        if source == "folder":
            assert (mount.path / "cold.bin").read_bytes() == b"cold"


def test_a_file_that_was_opened_once_is_there_without_a_server_that_lists_no_sizes(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    """Its size came by a HEAD, which vouched for the open that followed within the TTL as well."""
    (www / "cached.bin").write_bytes(CACHED)
    age(www)
    server = start_server(PythonHttp, www)
    mount = make_mount(server.url, read_timeout="4s")
    mount.start()
    assert (mount.path / "cached.bin").stat().st_size == len(CACHED)
    assert first_difference((mount.path / "cached.bin").read_bytes(), CACHED) is None
    time.sleep(1.5)  # the last second is a crash's
    mount.kill()
    server.stop()
    mount.expect_log(".")
    with mount:
        assert first_difference((mount.path / "cached.bin").read_bytes(), CACHED) is None


def mount_in_background(mount: RangefsMount, program: str = "mount") -> tuple[int, str]:
    mount.path.mkdir(exist_ok=True)
    options = ["--cache-dir", str(mount.cache)] if program == "mount" else ["-o", f"cache_dir={mount.cache}"]
    if program == "mount":
        ran = mount.rangefs("mount", mount.source, str(mount.path), *options, timeout_s=60)
    else:
        ran = mount.helper(mount.source, str(mount.path), *options)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize(("answer", "words"), [(404, "not found"), (403, "access denied"), (401, "asks who we are")])
def test_a_refusal_fails_also_where_the_cache_knows_the_source(
    answer: int, words: str, server: Server, make_mount: MakeMount
) -> None:
    mount = make_mount(server.url)
    fill(mount)
    server.stop()
    assert isinstance(server, Nginx)
    server.extra = f"location / {{ return {answer}; }}"
    server.start()
    status, said = mount_in_background(mount)
    assert status == 1, said
    assert words in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(("program", "status"), [("mount", 1), ("mount.rangefs", 32)])
def test_a_server_that_nobody_ever_saw_is_an_error_at_once(program: str, status: int, make_mount: MakeMount) -> None:
    mount = make_mount(f"http://127.0.0.1:{draw_port()}/")
    began = time.monotonic()
    ended, said = mount_in_background(mount, program)
    assert ended == status, said
    assert "refused" in said
    assert time.monotonic() - began < 20

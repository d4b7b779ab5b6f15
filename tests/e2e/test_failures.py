"""Upstream fails: right bytes or one clear error in time, and it comes back by itself. Unreachable is never deleted."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer, starter
from tests.e2e.conftest import MakeMount, mounts_in
from tests.e2e.processes import tool
from tests.mounts import RangefsMount
from tests.servers import Nginx
from tests.serving import Server, draw_port
from tests.trees import MiB, age, content, first_difference

pytestmark = pytest.mark.mount

OUTAGE = {errno.EIO, errno.ETIMEDOUT}
READ_TIMEOUT_S = 3


@pytest.fixture
def origin(start_server: StartServer, www: Path) -> Server:
    """nginx over a small tree, this test's own: it may be stopped."""
    (www / "cached.bin").write_bytes(content("cached", MiB))
    (www / "cold.bin").write_bytes(content("cold", 30 * MiB))
    (www / "folder").mkdir()
    (www / "folder" / "file").write_text("in the folder")
    (www / "unseen").mkdir()
    (www / "unseen" / "file").write_text("in there")
    age(www)
    refusals = "location = /secret.bin { return 403; } location /vault/ { return 403; }"
    return start_server(lambda root, scratch: Nginx(root, scratch, extra=refusals), www)


def error_of(action: Callable[[], object], limit_s: float) -> int:
    """The errno that `action` fails with; it must fail, in time."""
    began = time.monotonic()
    with pytest.raises(OSError, match=r"Errno") as failed:
        action()
    took = time.monotonic() - began
    assert took < limit_s, f"the error took {took:.1f} s"
    assert failed.value.errno is not None
    return failed.value.errno


def same(mount: RangefsMount, www: Path, name: str) -> bool:
    return (mount.path / name).read_bytes() == (www / name).read_bytes()


def read_at(path: Path, offset: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        return os.pread(file.fileno(), 4096, offset)


def check_outage(mount: RangefsMount, www: Path, limit_s: float) -> None:
    """What must hold while the server is away."""
    assert same(mount, www, "cached.bin")
    assert sorted(os.listdir(mount.path)) == sorted(os.listdir(www))
    assert os.statvfs(mount.path).f_blocks > 0
    assert error_of(lambda: read_at(mount.path / "cold.bin", 20 * MiB), limit_s) in OUTAGE
    assert error_of(lambda: os.listdir(mount.path / "unseen"), limit_s) in OUTAGE
    assert error_of(lambda: os.stat(mount.path / "unseen" / "file"), limit_s) in OUTAGE


def read_when_back(path: Path, wanted: bytes, limit_s: float) -> None:
    give_up = time.monotonic() + limit_s
    while True:
        try:
            seen = path.read_bytes()
        except OSError as error:
            if error.errno not in OUTAGE or time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        else:
            break
    assert first_difference(seen, wanted) is None


@pytest.mark.parametrize("way", ["stopped", "paused"])
def test_without_its_server_a_mount_serves_what_it_has_and_recovers_by_itself(
    way: str, origin: Server, make_mount: MakeMount, www: Path
) -> None:
    with make_mount(origin.url, read_timeout=f"{READ_TIMEOUT_S}s", metadata_ttl="500ms") as mount:
        mount.expect_log(".")  # an outage is worth warnings
        assert same(mount, www, "cached.bin")
        os.listdir(mount.path)
        (origin.stop if way == "stopped" else origin.pause)()
        time.sleep(0.6)  # past the TTL: what is shown now is stale
        check_outage(mount, www, limit_s=3 * READ_TIMEOUT_S + 5)
        (origin.start if way == "stopped" else origin.resume)()
        read_when_back(mount.path / "cold.bin", (www / "cold.bin").read_bytes(), limit_s=20)
        read_when_back(mount.path / "unseen" / "file", b"in there", limit_s=10)


def test_within_the_ttl_a_stopped_server_is_not_even_noticed_by_cached_reads(
    origin: Server, make_mount: MakeMount, www: Path
) -> None:
    with make_mount(origin.url) as mount:
        assert same(mount, www, "cached.bin")
        origin.stop()
        began = time.monotonic()
        assert same(mount, www, "cached.bin")
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("what", ["nobody listens", "no such folder", "forbidden", "not a listing"])
def test_a_source_that_cannot_be_mounted_is_one_line_and_exit_1(
    what: str, start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    (www / "page").mkdir()
    (www / "page" / "index.html").write_text("<html><body><p>Welcome to our shop.</p></body></html>")
    server = start_server(lambda root, scratch: Nginx(root, scratch, extra="location /no { return 403; }"), www)
    source = {
        "nobody listens": f"http://127.0.0.1:{draw_port()}/",
        "no such folder": f"{server.url}missing/",
        "forbidden": f"{server.url}no/",
        "not a listing": f"{server.url}page/",
    }[what]
    mount = make_mount(source)
    mount.path.mkdir()
    began = time.monotonic()
    ran = mount.rangefs("mount", source, str(mount.path), "--cache-dir", str(mount.cache), timeout_s=60)
    assert ran.returncode == 1, (ran.stdout, ran.stderr)
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert time.monotonic() - began < 30
    assert os.listdir(mount.path) == []


def test_missing_is_enoent_and_forbidden_is_eacces(origin: Server, make_mount: MakeMount, www: Path) -> None:
    (www / "secret.bin").write_bytes(b"secret")
    (www / "vault").mkdir()
    with make_mount(origin.url) as mount:
        mount.expect_log("secret|vault")
        assert error_of((mount.path / "missing").read_bytes, 5) == errno.ENOENT
        assert error_of((mount.path / "folder" / "missing" / "deeper").read_bytes, 5) == errno.ENOENT
        assert error_of((mount.path / "secret.bin").read_bytes, 5) == errno.EACCES
        assert error_of(lambda: os.listdir(mount.path / "vault"), 5) == errno.EACCES
        assert error_of(lambda: os.listdir(mount.path / "cached.bin"), 5) == errno.ENOTDIR
        assert error_of((mount.path / "cached.bin" / "x").read_bytes, 5) == errno.ENOTDIR
        assert error_of((mount.path / ("y" * 256)).read_bytes, 5) == errno.ENAMETOOLONG


@pytest.fixture(scope="module")
def shared_mount(scratch: Path) -> Iterator[RangefsMount]:
    """One mount for all that must be refused; nothing may change it."""
    www = scratch / "refused"
    www.mkdir()
    (www / "cached.bin").write_bytes(b"cached")
    for folder in ("folder", "unseen"):
        (www / folder).mkdir()
    age(www)
    with ExitStack() as stack, mounts_in(scratch, limit_s=300) as make:
        yield stack.enter_context(make(starter(stack, scratch)(Nginx, www).url))


@pytest.mark.parametrize(
    "command",
    [
        "touch new",
        "touch cached.bin",
        "echo x > new",
        "echo x > cached.bin",
        "echo x >> cached.bin",
        "rm -f cached.bin",
        "rm -rf folder",
        "rmdir unseen",
        "mkdir new",
        "mv cached.bin renamed.bin",
        "cp cached.bin copy.bin",
        "chmod 600 cached.bin",
        "chown 1:1 cached.bin",
        "truncate -s 1 cached.bin",
        "ln cached.bin hard",
        "ln -s cached.bin soft",
        "mkfifo pipe",
        "python3 -c \"import os; os.setxattr('cached.bin', 'user.x', b'y')\"",
        "python3 -c \"import os; os.removexattr('cached.bin', 'user.rangefs.url')\"",
        "python3 -c \"import os; os.utime('cached.bin', (1, 1))\"",
        "python3 -c \"import os; os.mknod('node')\"",
    ],
)
def test_every_change_is_refused_as_a_read_only_file_system(command: str, shared_mount: RangefsMount) -> None:
    ran = tool(shared_mount, "bash", "-c", command, cwd=shared_mount.path, check=False)
    assert ran.returncode != 0
    assert b"Read-only file system" in ran.stderr, ran.stderr


def test_nothing_of_those_changes_happened(shared_mount: RangefsMount) -> None:
    assert sorted(os.listdir(shared_mount.path)) == ["cached.bin", "folder", "unseen"]
    assert (shared_mount.path / "cached.bin").read_bytes() == b"cached"

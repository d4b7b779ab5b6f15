"""One tree on several servers: any of them may go, come back, lag or lie; a file is of one version and right."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.mounts import RangefsMount
from tests.servers import Apache, Caddy, Nginx, PythonHttp
from tests.serving import Server, draw_port
from tests.stores import BUCKET, Moto, NginxDav, signed_in
from tests.trees import OLD_NS, MiB, age, content, first_difference

pytestmark = pytest.mark.mount

SIZE = 48 * MiB + 321
# Slow enough that a stream takes seconds: 16 connections of 1 MiB/s.
SLOW = "limit_rate 1m;"


@pytest.fixture
def www(www: Path) -> Path:
    (www / "big.bin").write_bytes(content("big", SIZE))
    (www / "small.bin").write_bytes(content("small", 300_000))
    (www / "folder").mkdir()
    (www / "folder" / "file").write_text("in the folder")
    age(www)
    return www


def copied(www: Path, name: str = "copy") -> Path:
    """The same tree elsewhere, with the same times: nginx gives it the same tags."""
    copy = www.with_name(f"{www.name}-{name}")
    copy.mkdir()
    copy.chmod(0o755)
    for path in sorted(www.rglob("*")):
        to = copy / path.relative_to(www)
        if path.is_dir():
            to.mkdir()
        else:
            to.write_bytes(path.read_bytes())
    age(copy)
    return copy


def whole(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(name: str, size: int = SIZE) -> str:
    return hashlib.sha256(content(name, size)).hexdigest()


def soon(true: Callable[[], bool], limit_s: float, what: str) -> None:
    give_up = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < give_up, f"not within {limit_s} s: {what}"
        time.sleep(0.05)


def origin(mount: RangefsMount, role: str) -> dict[str, object]:
    found = [one for one in mount.status()["mirrors"] if one["role"] == role]
    assert len(found) == 1
    return dict(found[0])


@pytest.mark.parametrize("way", ["stopped", "paused"])
def test_a_primary_that_goes_in_mid_read_is_not_noticed(
    way: str, start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    primary = start_server(partial(Nginx, extra=SLOW), www)
    mirror = start_server(Nginx, copied(www))
    with make_mount(primary.url, mirror=[mirror.url], read_timeout="20s") as mount:
        mount.expect_log("asked instead")
        summed = hashlib.sha256()
        with (mount.path / "big.bin").open("rb", buffering=0) as file:
            summed.update(file.read(MiB))
            (primary.stop if way == "stopped" else primary.pause)()
            began = time.monotonic()
            while piece := file.read(MiB):
                summed.update(piece)
        assert summed.hexdigest() == digest("big")
        assert time.monotonic() - began < 20
        assert whole(mount.path / "small.bin") == digest("small", 300_000)
        assert (mount.path / "folder" / "file").read_text() == "in the folder"
        status = mount.status()
        assert status["state"] == "degraded"
        assert any("the primary does not serve" in reason for reason in status["reasons"])
        assert origin(mount, "primary")["state"] == "down"
        assert status["reads"]["errors"] == 0


def test_the_primary_is_asked_again_once_it_is_back(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    primary, mirror = start_server(Nginx, www), start_server(Nginx, copied(www))
    with make_mount(primary.url, mirror=[mirror.url], metadata_ttl="200ms") as mount:
        mount.expect_log("asked instead")
        os.listdir(mount.path)
        primary.stop()
        time.sleep(0.3)
        assert whole(mount.path / "small.bin") == digest("small", 300_000)
        primary.start()
        primary.forget()
        os.listdir(mount.path)
        soon(lambda: mount.status()["state"] == "ok", 15, "the primary is up again")
        time.sleep(0.3)
        os.listdir(mount.path / "folder")
        assert any(seen.uri == "/folder/" for seen in primary.log())


def test_a_dead_primary_costs_few_requests_however_many_read(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    for number in range(200):
        (www / f"f{number}").write_bytes(content(f"f{number}", 5000))
    age(www)
    primary, mirror = start_server(Nginx, www), start_server(Nginx, copied(www))
    with make_mount(primary.url, mirror=[mirror.url]) as mount:
        mount.expect_log("asked instead")
        os.listdir(mount.path)
        primary.pause()
        wrong: list[int] = []

        def read(number: int) -> None:
            for one in range(number, 200, 20):
                if (mount.path / f"f{one}").read_bytes() != content(f"f{one}", 5000):
                    wrong.append(one)

        began = time.monotonic()
        readers = [threading.Thread(target=read, args=(number,)) for number in range(20)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        assert not wrong
        assert time.monotonic() - began < 15
        assert int(str(origin(mount, "primary")["requests"])) <= 60
        primary.resume()


def test_a_mirror_with_other_bytes_is_never_mixed_in(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    copy = copied(www)
    (copy / "big.bin").write_bytes(content("other", SIZE))
    os.utime(copy / "big.bin", ns=(OLD_NS - 10**12, OLD_NS - 10**12))
    primary, mirror = start_server(Nginx, www), start_server(Nginx, copy)
    with make_mount(primary.url, mirror=[mirror.url], read_timeout="4s", metadata_ttl="1s") as mount:
        mount.expect_log("asked instead|big.bin")
        with (mount.path / "big.bin").open("rb", buffering=0) as file:
            assert first_difference(file.read(MiB), content("big", SIZE)[:MiB]) is None
            primary.stop()
            time.sleep(1.1)
            with pytest.raises(OSError, match=r"Errno") as failed:
                os.pread(file.fileno(), 4096, SIZE - 5000)
            assert failed.value.errno in {errno.EIO, errno.ETIMEDOUT}
            assert mount.status()["upstream"]["version_changes"] == 0
            # what is open stays what it is
            with (mount.path / "big.bin").open("rb", buffering=0) as again:
                assert first_difference(again.read(4096), content("big", 4096)) is None
        # nobody has it open: the mirror's version, whole, rather than none
        cached_bytes = int(os.getxattr(mount.path / "big.bin", "user.rangefs.cached_bytes"))
        time.sleep(5)  # what was found stale is not asked about again before
        assert whole(mount.path / "big.bin") == digest("other")
        primary.start()
        primary.forget()
        soon(lambda: mount.status()["state"] == "ok", 15, "the primary is up again")
        soon(lambda: _sum_or_error(mount.path / "big.bin") == digest("big"), 15, "the primary's version")
        assert primary.body_bytes("/big.bin") <= SIZE - cached_bytes + MiB, "what was cached of it is there still"


@pytest.mark.parametrize("maker", [PythonHttp, partial(Nginx, etag=False)], ids=["http.server", "nginx-noetag"])
def test_without_strong_tags_each_file_is_of_one_server(
    maker: Callable[[Path, Path], Server], start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    copy = copied(www)
    (copy / "big.bin").write_bytes(content("other", SIZE))
    age(copy)
    primary, mirror = start_server(maker, www), start_server(maker, copy)
    with make_mount(primary.url, mirror=[mirror.url], read_timeout="6s", metadata_ttl="1s") as mount:
        mount.expect_log("asked instead|big.bin")
        assert whole(mount.path / "big.bin") == digest("big")
        assert (mount.path / "small.bin").read_bytes()
        time.sleep(1.5)  # a crash costs a second
        assert whole(mount.path / "big.bin") == digest("big")  # past its TTL: the cache notes when it was asked for
        time.sleep(1.5)
        mount.remount()
        primary.stop()
        assert whole(mount.path / "big.bin") == digest("big"), "it is cached whole"
    with make_mount(mirror.url, mirror=[primary.url], read_timeout="6s", metadata_ttl="1s") as mount:
        mount.expect_log("asked instead|big.bin")
        assert whole(mount.path / "big.bin") == digest("other")


def test_a_mirrors_copy_that_is_cut_off_is_never_the_file(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    copy = copied(www)
    (copy / "big.bin").write_bytes(content("big", MiB))
    (copy / "small.bin").unlink()
    age(copy)
    primary, mirror = start_server(Nginx, www), start_server(Nginx, copy)
    with make_mount(primary.url, mirror=[mirror.url], read_timeout="4s", metadata_ttl="1s") as mount:
        mount.expect_log(".")
        os.listdir(mount.path)
        primary.stop()
        time.sleep(1.1)
        assert set(os.listdir(mount.path)) == {"big.bin", "small.bin", "folder"}
        assert (mount.path / "big.bin").stat().st_size == SIZE
        for name in ("big.bin", "small.bin"):
            with pytest.raises(OSError, match=r"Errno") as failed:
                (mount.path / name).read_bytes()
            assert failed.value.errno in {errno.EIO, errno.ETIMEDOUT}
        primary.start()
        soon(lambda: mount.status()["state"] == "ok", 15, "the primary is up again")
        soon(lambda: _sum_or_error(mount.path / "big.bin") == digest("big"), 10, "the primary's file")


def _sum_or_error(path: Path) -> str:
    try:
        return whole(path)
    except OSError as error:
        return str(error)


def test_credentials_stay_with_the_primary(
    start_server: StartServer, make_mount: MakeMount, www: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "headers"
    secret.write_text("X-Api-Key: s3cret\n")
    secret.chmod(0o600)
    show = 'add_header X-Seen "$http_x_api_key"; if ($http_x_api_key != "%s") { return 403; }'
    primary = start_server(partial(Nginx, extra=show % "s3cret"), www)
    mirror = start_server(partial(Nginx, extra=show % ""), copied(www))
    primary_url = primary.url
    with make_mount(primary_url, mirror=[mirror.url], header_file=str(secret)) as mount:
        mount.expect_log("asked instead")
        assert whole(mount.path / "big.bin") == digest("big")
        primary.stop()
        assert whole(mount.path / "small.bin") == digest("small", 300_000)
        assert all(seen.status != 403 for seen in mirror.log())
        assert "s3cret" not in mount.log()


def test_ranges_ahead_come_from_all_and_each_byte_once(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    servers = [start_server(Nginx, www), *(start_server(Nginx, copied(www, name)) for name in "ab")]
    with make_mount(servers[0].url, mirror=[server.url for server in servers[1:]]) as mount:
        soon(lambda: all(one["state"] == "ok" for one in mount.status()["mirrors"]), 10, "all are connected")
        assert whole(mount.path / "big.bin") == digest("big")
        shares = [server.body_bytes("/big.bin") for server in servers]
        assert SIZE <= sum(shares) <= 1.02 * SIZE
        assert all(share > SIZE // 12 for share in shares), shares
        assert sum(one["bytes"] for one in mount.status()["mirrors"]) == mount.status()["upstream"]["bytes"]


@pytest.mark.parametrize("maker", [Caddy, Apache], ids=["caddy", "apache"])
def test_another_kind_of_server_can_be_the_mirror(
    maker: Callable[[Path, Path], Server], start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    primary, mirror = start_server(Nginx, www), start_server(maker, copied(www))
    with make_mount(primary.url, mirror=[mirror.url], metadata_ttl="500ms") as mount:
        mount.expect_log("asked instead|other versions")
        assert sorted(os.listdir(mount.path)) == ["big.bin", "folder", "small.bin"]
        primary.stop()
        time.sleep(0.6)
        assert whole(mount.path / "big.bin") == digest("big")
        assert os.listdir(mount.path / "folder") == ["file"]
        assert (mount.path / "folder" / "file").read_text() == "in the folder"


def test_a_mount_starts_on_a_mirror_alone_and_finds_its_primary(
    start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    primary, mirror = start_server(Nginx, www), start_server(Nginx, copied(www))
    primary.stop()
    with make_mount(primary.url, mirror=[mirror.url], metadata_ttl="500ms") as mount:
        mount.expect_log("asked instead")
        assert whole(mount.path / "big.bin") == digest("big")
        assert mount.status()["state"] == "degraded"
        with pytest.raises(OSError, match=r"Errno") as failed:
            (mount.path / "no-such-file").stat()
        assert failed.value.errno != errno.ENOENT, "who knows what the primary has"
        primary.start()
        os.listdir(mount.path)
        soon(lambda: mount.status()["state"] == "ok", 15, "the primary is up")
        time.sleep(0.6)
        with pytest.raises(FileNotFoundError):
            (mount.path / "no-such-file").stat()


def test_with_nobody_there_a_mount_fails_with_one_line(make_mount: MakeMount) -> None:
    source, other = (f"http://127.0.0.1:{draw_port()}/" for _ in range(2))
    mount = make_mount(source)
    mount.path.mkdir()
    words = ("mount", source, str(mount.path), "--mirror", other, "--cache-dir", str(mount.cache))
    ran = mount.rangefs(*words, timeout_s=60)
    assert ran.returncode == 1, (ran.stdout, ran.stderr)
    assert len(ran.stderr.strip().splitlines()) == 1, ran.stderr


AWKWARD = ("two words", "100%", "%41 is not A", "q'\"uotes", "a+b;c,d@e$f=&(g)", "what?x#y", "ünïcode 漢字")


def test_a_webdav_share_and_a_bucket_can_be_the_mirrors_of_a_web_server(
    start_server: StartServer, make_mount: MakeMount, www: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in AWKWARD:
        (www / name).write_text(name)
    age(www)
    primary, share = start_server(Nginx, www), start_server(NginxDav, copied(www))
    store = start_server(Moto, www.with_name("unused"))
    assert isinstance(store, Moto)
    store.put({str(path.relative_to(www)).encode(): path.read_bytes() for path in www.rglob("*") if path.is_file()})
    for name, value in signed_in(store).items():
        monkeypatch.setenv(name, value)
    mirrors = [share.url.replace("http://", "webdav://"), f"s3://{BUCKET}/"]
    with make_mount(primary.url, mirror=mirrors, metadata_ttl="1s", endpoint_url=store.endpoint) as mount:
        mount.expect_log("asked instead|other versions")
        soon(lambda: all(one["state"] == "ok" for one in mount.status()["mirrors"]), 10, "all are connected")
        with (mount.path / "big.bin").open("rb", buffering=0) as file:
            start = file.read(MiB)
            primary.stop()
            rest = file.read(SIZE)
        assert first_difference(start + rest, content("big", SIZE)[: len(start + rest)]) is None
        assert whole(mount.path / "big.bin") == digest("big"), "nginx and its WebDAV have the same tags"
        share.stop()
        time.sleep(1.1)
        assert set(os.listdir(mount.path)) == {"big.bin", "small.bin", "folder", *AWKWARD}
        for name in AWKWARD:
            assert (mount.path / name).read_text() == name
        assert (mount.path / "folder" / "file").read_text() == "in the folder"


def test_the_doctor_says_what_a_mirror_is_good_for(start_server: StartServer, make_mount: MakeMount, www: Path) -> None:
    same, other, short = copied(www, "same"), copied(www, "other"), copied(www, "short")
    for path in other.iterdir():
        os.utime(path, ns=(OLD_NS - 10**12, OLD_NS - 10**12))
    for path in short.glob("*.bin"):
        path.write_bytes(b"short")
    age(short)
    words = ("the same version", "only stands in", "has 5 bytes of that file")
    for root, said in zip((same, other, short), words, strict=True):
        mirror, primary = start_server(Nginx, root), start_server(Nginx, www)
        mount = make_mount(primary.url)
        ran = mount.rangefs("doctor", primary.url, "--mirror", mirror.url)
        assert said in ran.stdout, ran.stdout + ran.stderr
        assert ran.returncode == int("bytes" in said)

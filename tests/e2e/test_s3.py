"""Buckets through a real mount, from servers that check signatures: every key reachable, every byte right."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from rangefs.core import names
from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.mounts import RangefsMount
from tests.stores import BUCKET, SECRET_KEY, Moto, RcloneS3, Store, signed_in
from tests.trees import MiB, content, first_difference

pytestmark = pytest.mark.mount

# What S3 takes as a key: names that POSIX has, and paths that it can't have.
POSIX_KEYS: tuple[bytes, ...] = (
    b"plain",
    b"two words",
    b" leading and trailing ",
    b"a+b",
    b"100%",
    b"%41 is not A",
    b"a%2Fb",
    b"a#b",
    b"what?versionId=1&x",
    b"q'\"uotes",
    b"&amp;<tag>",
    b"(paren)!*'",
    b"a=b;c,d@e$f:",
    b"~tilde~",
    b"back\\slash",
    "ünïcode/漢字 🎈".encode(),
    "e\u0301 and \u00e9".encode(),
    b"deep/er/and/deep er/file",
)
ODD_KEYS: tuple[bytes, ...] = (
    b"a/../x",
    b"./dot",
    b"..",
    b"x//y",
    b"//",
    b"/lead",
    b"marker/",
    b"both",
    b"both/inside",
    b"slash/at/end/",
    b"long/" + b"k" * 1019,
    b"n" * 1024,
    b"l/" * 40 + b"xy",
    b"%%looks escaped",
    b"tab\there",
)


@pytest.fixture
def start_store(
    start_server: StartServer, www: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[type[Store]], Store]:
    """A store of this test's own, that checks signatures, and whose keys are in the environment."""

    def start(kind: type[Store]) -> Store:
        store = start_server(kind, www)
        assert isinstance(store, Store)
        if isinstance(store, Moto):
            store.check_signatures()
        use_keys(store, monkeypatch)
        return store

    return start


def use_keys(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in signed_in(store).items():
        monkeypatch.setenv(name, value)


def shown(key: bytes, others: Mapping[bytes, bytes]) -> bytes | None:
    """The path at which the object `key` is to be found in the mount; None for a folder's empty marker."""
    *folders, last = key.split(b"/")
    if not last and not others[key]:
        return None
    if any(other.startswith(key + b"/") for other in others):
        last = names.beside_folder(last).name
    else:
        last = names.component(last).name
    return b"/".join([*(names.component(folder).name for folder in folders), last])


def files_below(root: Path) -> Iterator[bytes]:
    top = os.fsencode(root)
    for folder, _, files in os.walk(top):
        for name in files:
            yield os.path.relpath(os.path.join(folder, name), top)


def check_bucket(mount: RangefsMount, objects: Mapping[bytes, bytes]) -> None:
    """The mount has these objects and no others, each with its own bytes."""
    wanted = {path: objects[key] for key in objects if (path := shown(key, objects)) is not None}
    assert sorted(files_below(mount.path)) == sorted(wanted)
    for path, body in wanted.items():
        with open(os.path.join(os.fsencode(mount.path), path), "rb") as file:
            assert os.fstat(file.fileno()).st_size == len(body)
            assert file.read() == body, path


def test_moto_shows_every_key_that_s3_allows(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(Moto)
    objects = {key: b"content of " + key for key in (*POSIX_KEYS, *ODD_KEYS)} | {b"empty": b"", b"marker/empty/": b""}
    store.put(objects)
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint) as mount:
        check_bucket(mount, objects)


def test_rclone_shows_every_key_that_it_can_keep(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(RcloneS3)
    objects = {key: b"content of " + key for key in POSIX_KEYS} | {b"empty": b""}
    store.put(objects)
    with make_mount(f"s3://{BUCKET}/", endpoint_url=store.endpoint) as mount:
        check_bucket(mount, objects)


@pytest.mark.parametrize("kind", [Moto, RcloneS3])
def test_large_objects_have_the_right_bytes_wherever_they_are_read(
    kind: type[Store], start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(kind)
    body = content("large", 9 * MiB + 5)
    store.put({b"folder/large.bin": body})
    with make_mount(f"s3://{BUCKET}/folder", endpoint_url=store.endpoint) as mount:
        path = mount.path / "large.bin"
        with path.open("rb") as file:
            for start in (8 * MiB, 5, 9 * MiB, 4 * MiB - 1):
                file.seek(start)
                assert file.read(1000) == body[start : start + 1000]
        assert first_difference(path.read_bytes(), body) is None


def test_one_object_is_a_mount_of_one_file(start_store: Callable[[type[Store]], Store], make_mount: MakeMount) -> None:
    store = start_store(Moto)
    store.put({b"pre/a b.txt": b"one", b"pre/a": b"two", b"other": b"three"})
    with make_mount(f"s3://{BUCKET}/pre/a b.txt", endpoint_url=store.endpoint) as mount:
        assert os.listdir(mount.path) == ["a b.txt"]
        assert (mount.path / "a b.txt").read_bytes() == b"one"


def test_a_folder_of_several_pages_is_whole(start_store: Callable[[type[Store]], Store], make_mount: MakeMount) -> None:
    store = start_store(Moto)
    objects = {b"many/%05d" % number: b"%d" % number for number in range(1001)}
    objects |= {b"many/folder-%04d/x" % number: b"x" for number in range(0, 1000, 333)}
    store.put(objects)
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint) as mount:
        assert sorted(os.fsencode(name) for name in os.listdir(mount.path / "many")) == sorted(
            {key.split(b"/")[1] for key in objects}
        )
        for number in (0, 998, 999, 1000):
            assert (mount.path / "many" / f"{number:05}").read_bytes() == b"%d" % number


def test_opening_what_was_listed_costs_one_request_a_file(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(RcloneS3)
    store.put({b"%d" % number: b"x" * 100 for number in range(20)})
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint) as mount:
        for entry in os.scandir(mount.path):
            assert entry.stat().st_size == 100
        before = mount.status()["upstream"]["requests"]
        assert before <= 2, "one to connect, one page"
        for number in range(20):
            assert (mount.path / str(number)).read_bytes() == b"x" * 100
        assert mount.status()["upstream"]["requests"] == before + 20


def test_a_listing_vouches_for_the_versions_that_it_names(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(Moto)
    store.put({b"%d" % number: b"x" * 100 for number in range(20)})
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint, metadata_ttl="2s") as mount:
        for number in range(20):
            (mount.path / str(number)).read_bytes()
        before = mount.status()["upstream"]["requests"]
        time.sleep(2.5)
        for number in range(20):
            assert (mount.path / str(number)).read_bytes() == b"x" * 100
        assert mount.status()["upstream"]["requests"] - before < 10, "a page or two, instead of a HEAD a file"


def test_an_open_handle_goes_on_reading_its_version_where_the_bucket_keeps_versions(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(Moto)
    old, new = content("old", 20 * MiB), content("new", 20 * MiB)
    client = store.client()
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket=BUCKET, Key="file", Body=old)
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint, metadata_ttl="0s") as mount:
        with (mount.path / "file").open("rb") as file:
            assert file.read(1000) == old[:1000]
            client.put_object(Bucket=BUCKET, Key="file", Body=new)
            file.seek(19 * MiB)
            assert file.read(1000) == old[19 * MiB : 19 * MiB + 1000]
        assert first_difference((mount.path / "file").read_bytes(), new) is None
        assert b'"@' in os.getxattr(mount.path / "file", "user.rangefs.validator")


def test_an_overwritten_object_is_seen_where_there_are_no_versions(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(Moto)
    store.put({b"file": b"1" * 1000})
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint, metadata_ttl="0s") as mount:
        assert (mount.path / "file").read_bytes() == b"1" * 1000
        store.client().put_object(Bucket=BUCKET, Key="file", Body=b"2" * 1000)
        assert (mount.path / "file").read_bytes() == b"2" * 1000
        store.client().delete_object(Bucket=BUCKET, Key="file")
        with pytest.raises(FileNotFoundError):
            (mount.path / "file").read_bytes()


@pytest.mark.parametrize("kind", [Moto, RcloneS3])
def test_a_wrong_secret_is_refused_in_the_stores_own_words(
    kind: type[Store],
    start_store: Callable[[type[Store]], Store],
    make_mount: MakeMount,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = start_store(kind)
    store.put({b"file": b"x"})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    mount = make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint)
    mount.path.mkdir(parents=True)
    ran = mount.rangefs("mount", f"s3://{BUCKET}", str(mount.path), "--endpoint-url", store.endpoint)
    assert ran.returncode == 1
    assert "SignatureDoesNotMatch" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_secrets_are_in_nothing_that_was_written(
    start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    store = start_store(RcloneS3)
    store.put({b"file": content("file", 300_000)})
    with make_mount(f"s3://{BUCKET}", endpoint_url=store.endpoint, log_level="debug") as mount:
        assert len((mount.path / "file").read_bytes()) == 300_000
        with pytest.raises(FileNotFoundError):
            (mount.path / "missing").stat()
        cmdline = Path(f"/proc/{mount.pid}/cmdline").read_bytes()
        told = mount.rangefs("status", "--json", str(mount.path)).stdout.encode()
        xattrs = b"".join(os.getxattr(mount.path / "file", name) for name in os.listxattr(mount.path / "file"))
    for text in (cmdline, told, xattrs):
        assert SECRET_KEY.encode() not in text
    written = [path for path in mount.base.rglob("*") if path.is_file()]
    assert any(path.stat().st_size >= 300_000 for path in written)
    for path in written:
        assert SECRET_KEY.encode() not in path.read_bytes(), path
        assert b"AWS4-HMAC" not in path.read_bytes(), path


def test_without_botocore_the_error_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "botocore").mkdir()
    (tmp_path / "botocore" / "__init__.py").write_text("raise ModuleNotFoundError('gone', name='botocore')\n")
    (tmp_path / "mnt").mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "rangefs", "mount", "s3://bucket", str(tmp_path / "mnt")],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 2
    assert "rangefs[s3]" in ran.stderr


class HugeFolder(BaseHTTPRequestHandler):
    """A bucket with one folder of many pages, each of which takes a second; single names are told at once."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(self.path.partition("?")[2])
        if "list-type" not in query:
            self.reply(206, b"content", {"Content-Range": "bytes 0-6/7", "ETag": '"etag"'})
            return
        prefix, token = query.get("prefix", [""])[0], int(query.get("continuation-token", ["0"])[0])
        keys = [prefix] if prefix == "huge/name-7" else []
        if prefix == "huge/":
            time.sleep(1)
            keys = [f"huge/name-{token}"]
        contents = "".join(
            f"<Contents><Key>{key}</Key><Size>7</Size><ETag>&quot;etag&quot;</ETag></Contents>" for key in keys
        )
        folder = "<CommonPrefixes><Prefix>huge/</Prefix></CommonPrefixes>" if prefix in ("", "huge") else ""
        more = f"<NextContinuationToken>{token + 1}</NextContinuationToken>" if prefix == "huge/" and token < 99 else ""
        self.reply(200, f"<ListBucketResult>{contents}{folder}{more}</ListBucketResult>".encode(), {})

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing."""


def test_a_name_in_a_huge_folder_is_found_before_the_folder_is_listed(
    make_mount: MakeMount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), HugeFolder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with make_mount("s3://bucket", endpoint_url=f"http://127.0.0.1:{server.server_port}") as mount:
                assert (mount.path / "huge" / "name-7").read_bytes() == b"content"
                with pytest.raises(FileNotFoundError):
                    (mount.path / "huge" / "no-such-name").stat()
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("prefix", ["folder", "folder/cached"])
def test_a_bucket_is_there_without_its_store_and_well_again_when_it_is_back(
    prefix: str, start_store: Callable[[type[Store]], Store], make_mount: MakeMount
) -> None:
    """A prefix, and one object: which of them it is, only the store can tell."""
    store, body = start_store(RcloneS3), content("cached", MiB)
    store.put({b"folder/cached": body, b"folder/cold": b"cold"})
    mount = make_mount(f"s3://{BUCKET}/{prefix}", endpoint_url=store.endpoint, metadata_ttl="1s", read_timeout="4s")
    mount.expect_log(".")
    seen = mount.path / "cached"
    mount.start()
    names_there = os.listdir(mount.path)
    assert first_difference(seen.read_bytes(), body) is None
    mount.stop()
    store.stop()
    with mount:
        assert os.listdir(mount.path) == names_there
        assert first_difference(seen.read_bytes(), body) is None
        assert os.getxattr(seen, "user.rangefs.state") == b"stale"
        if prefix == "folder":
            with pytest.raises(OSError, match="Errno"):
                (mount.path / "cold").read_bytes()
        store.start()
        give_up = time.monotonic() + 20
        while mount.status()["state"] != "ok":
            assert time.monotonic() < give_up, mount.status()["reasons"]
            time.sleep(0.2)
        assert first_difference(seen.read_bytes(), body) is None
        if prefix == "folder":
            assert (mount.path / "cold").read_bytes() == b"cold"
        assert os.listdir(mount.path) == names_there

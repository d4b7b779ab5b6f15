"""WebDAV through a real mount: four servers, the same tree, the same promises as on the web."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import trees
from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.mounts import RangefsMount
from tests.serving import Server
from tests.stores import DAV_SERVERS, NginxDav
from tests.trees import MiB, age, content, first_difference

pytestmark = pytest.mark.mount


def is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def has_control(name: bytes) -> bool:
    return any(byte < 32 for byte in name)


# What a server itself does not list under its own name, or breaks on: seen with the versions of `tests.stores`.
UNSHOWN = {
    "nginx": lambda name: name.startswith(b"."),
    "apache": lambda name: False,
    "rclone": has_control,  # shown as the pictures of control characters
    "wsgidav": lambda name: not is_utf8(name) or has_control(name),  # 500 for the folder; XML that is none
}


@pytest.fixture(scope="module", params=sorted(DAV_SERVERS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def url_of(server_url: str) -> str:
    return server_url.replace("http://", "webdav://")


def below(root: Path) -> Iterator[bytes]:
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in [*folders, *files]:
            yield os.path.relpath(os.path.join(folder, name), top)


def agree(mount: RangefsMount, root: Path) -> int:
    """The mount is what is on disk: names, kinds, sizes, times to the second, bytes. How many files."""
    paths = sorted(below(root))
    assert sorted(below(mount.path)) == paths
    count = 0
    for path in paths:
        there, here = (os.path.join(os.fsencode(top), path) for top in (root, mount.path))
        assert os.path.isdir(there) == os.path.isdir(here)
        if os.path.isfile(there):
            with open(there, "rb") as truth, open(here, "rb") as shown:
                assert first_difference(shown.read(), truth.read()) is None, path
            assert os.stat(here).st_size == os.stat(there).st_size
            assert int(os.stat(here).st_mtime) == int(os.stat(there).st_mtime)
            count += 1
    return count


def test_every_name_and_byte_is_the_servers(
    kind: str, www: Path, start_server: StartServer, make_mount: MakeMount
) -> None:
    trees.sizes_tree(www / "sizes")
    trees.text_tree(www / "text")
    (www / "names").mkdir()
    for name in trees.AWKWARD_NAMES:
        if not UNSHOWN[kind](name):
            folder = os.path.join(os.fsencode(www), b"names", name)
            os.mkdir(folder)
            for inner in {name, b"inside"}:
                with open(os.path.join(folder, inner), "wb") as file:
                    file.write(b"content of " + name)
    age(www)
    server = start_server(DAV_SERVERS[kind], www)
    with make_mount(url_of(server.url)) as mount:
        assert agree(mount, www) > 100


def test_a_large_file_is_read_by_ranges(kind: str, www: Path, start_server: StartServer, make_mount: MakeMount) -> None:
    body = content("large", 9 * MiB + 5)
    (www / "large.bin").write_bytes(body)
    age(www)
    server = start_server(DAV_SERVERS[kind], www)
    with make_mount(url_of(server.url)) as mount:
        with (mount.path / "large.bin").open("rb") as file:
            file.seek(9 * MiB)
            assert file.read() == body[9 * MiB :]
        assert mount.status()["upstream"]["bytes"] < 4 * MiB
        assert first_difference((mount.path / "large.bin").read_bytes(), body) is None


def test_a_single_file_and_a_folder_without_its_slash_mount(
    kind: str, www: Path, start_server: StartServer, make_mount: MakeMount
) -> None:
    (www / "folder").mkdir()
    (www / "folder" / "a b.txt").write_text("x" * 10)
    age(www)
    server = start_server(DAV_SERVERS[kind], www)
    with make_mount(url_of(server.url) + "folder") as mount:
        assert os.listdir(mount.path) == ["a b.txt"]
    with make_mount(url_of(server.url) + "folder/a%20b.txt") as mount:
        assert os.listdir(mount.path) == ["a b.txt"]
        assert (mount.path / "a b.txt").read_text() == "x" * 10


def test_a_replaced_file_is_seen(kind: str, www: Path, start_server: StartServer, make_mount: MakeMount) -> None:
    (www / "file").write_bytes(b"1" * 1000)
    age(www)
    server = start_server(DAV_SERVERS[kind], www)
    with make_mount(url_of(server.url), metadata_ttl="0s") as mount:
        assert (mount.path / "file").read_bytes() == b"1" * 1000
        (www / "new").write_bytes(b"2" * 1000)
        os.utime(www / "new", (1.1e9, 1.1e9))
        os.replace(www / "new", www / "file")
        assert (mount.path / "file").read_bytes() == b"2" * 1000
        os.unlink(www / "file")
        with pytest.raises(FileNotFoundError):
            (mount.path / "file").read_bytes()


def test_a_password_comes_from_a_netrc_file_and_is_written_nowhere(
    www: Path, start_server: StartServer, make_mount: MakeMount, tmp_path: Path
) -> None:
    (www / "file").write_bytes(b"x" * 1000)
    age(www)
    passwords = www.parent / f"{www.name}.passwords"
    passwords.write_text("me:{PLAIN}planted-password\n")
    passwords.chmod(0o644)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password planted-password\n")
    netrc.chmod(0o600)
    server = start_server(partial(NginxDav, extra=f'auth_basic dav; auth_basic_user_file "{passwords}";'), www)
    with make_mount(url_of(server.url), netrc=str(netrc), log_level="debug") as mount:
        assert (mount.path / "file").read_bytes() == b"x" * 1000
    for path in mount.base.rglob("*"):
        if path.is_file():
            assert b"planted-password" not in path.read_bytes()
            assert b"bWU6cGxhbnRlZC1wYXNzd29yZA" not in path.read_bytes()  # the same in base64
    refused = make_mount(url_of(server.url))
    refused.path.mkdir()
    ran = refused.rangefs("mount", url_of(server.url), str(refused.path))
    assert ran.returncode == 1
    assert "401" in ran.stderr


def test_a_web_server_without_webdav_is_named_as_such(nginx: Server, make_mount: MakeMount) -> None:
    mount = make_mount(url_of(nginx.url))
    mount.path.mkdir()
    ran = mount.rangefs("mount", url_of(nginx.url), str(mount.path))
    assert ran.returncode == 1
    assert "no WebDAV" in ran.stderr

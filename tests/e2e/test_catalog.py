"""``catalog+…`` through a real mount: files of two real servers in one tree, listed in each form."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

import pytest
import xxhash

from tests.conftest import StartServer
from tests.e2e.bucket_checks import check_nothing_written, check_refusal
from tests.e2e.conftest import MakeMount
from tests.servers import Caddy, Nginx
from tests.serving import Server
from tests.trees import OLD_NS, content, first_difference

pytestmark = pytest.mark.mount

Row = dict[str, object]


@dataclass
class Hosts:
    """Two servers, and what is on them."""

    one: Server
    two: Server
    rows: list[Row] = field(default_factory=list)

    def add(self, server: Server, name: str, body: bytes, path: str, **more: object) -> Row:
        """Puts a file on a server, and lists it as `path`."""
        (server.root / name).write_bytes(body)
        row: Row = {"path": path, "url": server.url + quote(name), **more}
        self.rows.append(row)
        return row


@pytest.fixture
def hosts(start_server: StartServer, www: Path) -> Hosts:
    roots = [www / "one", www / "two"]
    for root in roots:
        root.mkdir(mode=0o755)
    return Hosts(start_server(Nginx, roots[0]), start_server(Caddy, roots[1]))


def json_lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def comma_separated(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["path", "url", "size", "sha256", "xxh3", "mtime", "etag"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def metalink(rows: list[Row]) -> str:
    files = []
    for row in rows:
        hashes = "".join(
            f'<hash type="{kind}">{row[name]}</hash>' for name, kind in (("sha256", "sha-256"),) if name in row
        )
        size = f"<size>{row['size']}</size>" if "size" in row else ""
        name, url = quoteattr(str(row["path"])), escape(str(row["url"]))
        files.append(f'<file name={name}>{size}{hashes}<url priority="1">{url}</url></file>')
    return f'<metalink xmlns="urn:ietf:params:xml:ns:metalink">{"".join(files)}</metalink>'


FORMS: dict[str, Callable[[list[Row]], str]] = {
    "files.jsonl": json_lines,
    "f.csv": comma_separated,
    "f.meta4": metalink,
}

AWKWARD = ("two words.txt", "100%.txt", "a+b", "C#?.txt", 'it\'s "quoted", it is', "ünïcode – 漢字 🎈", "<tag>&amp;")


@pytest.mark.parametrize("form", sorted(FORMS))
def test_files_of_many_hosts_are_one_tree(form: str, hosts: Hosts, make_mount: MakeMount, tmp_path: Path) -> None:
    wanted = {}
    for number, name in enumerate(AWKWARD):
        body = f"content of {name}\n".encode()
        server = (hosts.one, hosts.two)[number % 2]
        hash_given = {"sha256": hashlib.sha256(body).hexdigest()} if number % 3 == 0 else {}
        size_given = {"size": len(body)} if number % 2 == 0 else {}
        hosts.add(server, f"file {number}", body, f"folder/{name}", **size_given, **hash_given)
        wanted[name] = body
    file = tmp_path / form
    file.write_text(FORMS[form](hosts.rows))
    with make_mount(f"catalog+file://{file}") as mount:
        found = {path.name: path.read_bytes() for path in (mount.path / "folder").iterdir()}
        assert found == wanted
        assert {path.name: path.stat().st_size for path in (mount.path / "folder").iterdir()} == {
            name: len(body) for name, body in wanted.items()
        }


def test_a_catalog_on_the_web_may_name_files_beside_it(hosts: Hosts, make_mount: MakeMount) -> None:
    body = content("b", 3_000_000)
    (hosts.one.root / "b.bin").write_bytes(body)
    (hosts.one.root / "list.jsonl").write_text('{"path": "a/b.bin", "url": "b.bin"}\n')
    with make_mount(f"catalog+{hosts.one.url}list.jsonl") as mount:
        assert first_difference((mount.path / "a" / "b.bin").read_bytes(), body) is None


def test_a_right_hash_is_checked_in_silence_and_kept(hosts: Hosts, make_mount: MakeMount, tmp_path: Path) -> None:
    body = content("hashed", 5_000_000)
    digests = {"xxh3": xxhash.xxh3_64(body).hexdigest(), "sha256": hashlib.sha256(body).hexdigest()}
    hosts.add(hosts.one, "f", body, "f", **digests)
    hosts.add(hosts.one, "g", body, "g", xxh3=xxhash.xxh3_128(body).hexdigest(), size=len(body))
    file = tmp_path / "list"
    file.write_text(json_lines(hosts.rows))
    with make_mount(f"catalog+file://{file}") as mount:
        for name in ("f", "g"):
            with (mount.path / name).open("rb") as opened:
                opened.seek(4_000_000)
                assert opened.read(1000) == body[4_000_000:4_001_000]
            assert first_difference((mount.path / name).read_bytes(), body) is None
        assert hosts.one.body_bytes("/f") == hosts.one.body_bytes("/g") == len(body)
        mount.remount()
        hosts.one.forget()
        assert first_difference((mount.path / "f").read_bytes(), body) is None
        assert hosts.one.body_bytes("/f") == 0


@pytest.mark.parametrize("wrong", ["sha256", "xxh3", "size", "etag"])
def test_what_is_not_as_the_catalog_says_is_not_served(
    wrong: str, hosts: Hosts, make_mount: MakeMount, tmp_path: Path
) -> None:
    body = content("good", 1_000_000)
    lie = {"sha256": "0" * 64, "xxh3": "0" * 16, "size": 999_999, "etag": '"other"'}[wrong]
    hosts.add(hosts.one, "f", body, "f", **{"size": len(body), wrong: lie})
    file = tmp_path / "list"
    file.write_text(json_lines(hosts.rows))
    with make_mount(f"catalog+file://{file}") as mount:
        mount.expect_log("catalog says")
        with pytest.raises(OSError, match="Errno") as refused:
            (mount.path / "f").read_bytes()
        assert refused.value.errno == errno.EIO


def test_another_mirror_stands_in_for_one_that_fails_or_lies(
    hosts: Hosts, make_mount: MakeMount, tmp_path: Path
) -> None:
    body = content("good", 1_000_000)
    hosts.add(hosts.one, "f", body[:-1] + b"?", "f", size=len(body), sha256=hashlib.sha256(body).hexdigest())
    (hosts.two.root / "f").write_bytes(body)
    hosts.rows[0]["url"] = [hosts.one.url + "missing", hosts.one.url + "f", hosts.two.url + "f"]
    hosts.add(hosts.two, "g", body, "g")
    hosts.rows[1]["url"] = [hosts.one.url + "missing", hosts.two.url + "g"]
    file = tmp_path / "list"
    file.write_text(json_lines(hosts.rows))
    with make_mount(f"catalog+file://{file}") as mount:
        assert first_difference((mount.path / "f").read_bytes(), body) is None
        assert first_difference((mount.path / "g").read_bytes(), body) is None


def test_a_catalog_that_changes_is_read_again(hosts: Hosts, make_mount: MakeMount, tmp_path: Path) -> None:
    hosts.add(hosts.one, "f", b"first", "f", mtime=OLD_NS // 10**9)
    file = tmp_path / "list"
    file.write_text(json_lines(hosts.rows))
    with make_mount(f"catalog+file://{file}", metadata_ttl="100ms") as mount:
        assert (mount.path / "f").read_bytes() == b"first"
        assert (mount.path / "f").stat().st_mtime == OLD_NS // 10**9
        hosts.add(hosts.two, "g", b"second", "g")
        fresh = tmp_path / "fresh"
        fresh.write_text(json_lines(hosts.rows))
        fresh.rename(file)
        read_when_there(mount.path / "g", b"second")


def read_when_there(path: Path, wanted: bytes, limit_s: float = 20) -> None:
    give_up = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < give_up, f"{path.name} does not appear"
        time.sleep(0.1)
    assert path.read_bytes() == wanted


def test_a_catalog_that_is_none_is_refused_with_its_place(make_mount: MakeMount, tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text('{"path": "a", "url": "http://127.0.0.1/a"}\n{"path": 7}\n')
    check_refusal(make_mount(f"catalog+file://{file}"), "entry 2")
    check_refusal(make_mount(f"catalog+file://{file}.gone"), "no such file")


def test_a_signature_in_a_listed_address_is_never_written(hosts: Hosts, make_mount: MakeMount, tmp_path: Path) -> None:
    signature = "planted-signature-that-nobody-may-see"
    row = hosts.add(hosts.one, "f", b"content", "f")
    row["url"] = f"{row['url']}?se=2026&sig={signature}"
    hosts.rows.append({"path": "gone", "url": f"{hosts.one.url}gone?sig={signature}"})
    file = tmp_path / "list"
    file.write_text(json_lines(hosts.rows))
    with make_mount(f"catalog+file://{file}", log_level="debug") as mount:
        mount.expect_log("gone")
        assert (mount.path / "f").read_bytes() == b"content"
        with pytest.raises(OSError, match="Errno"):
            (mount.path / "gone").read_bytes()
        assert b"sig=REDACTED" in os.getxattr(mount.path / "f", "user.rangefs.url")
        check_nothing_written(mount, [signature])

"""Programs that know nothing of rangefs: what people will run on a mount gives what it gives on the server's disk."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import sqlite3
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import starter
from tests.e2e.conftest import mounts_in
from tests.e2e.processes import tool
from tests.mounts import RangefsMount
from tests.servers import Nginx
from tests.trees import age, content, first_difference, sizes_tree, text_tree

pytestmark = pytest.mark.mount

GIT = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
GIT |= {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(*words: str | Path, cwd: Path) -> None:
    subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, env={**os.environ, **GIT})


@pytest.fixture(scope="module")
def goods(scratch: Path) -> Iterator[Path]:
    """A folder with what the tools are about: a database, archives, a repository, checksums."""
    root = scratch / "goods"
    sizes_tree(root / "sizes")
    text_tree(root / "text")
    with sqlite3.connect(root / "data.sqlite") as db:
        db.execute("create table t (id integer primary key, word text, body blob)")
        db.executemany(
            "insert into t values (?, ?, ?)", ((n, f"w{n % 97}", content(f"b{n}", 500)) for n in range(6000))
        )
        db.execute("create index by_word on t (word)")
    db.close()
    with zipfile.ZipFile(root / "text.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "text").rglob("*.txt")):
            archive.write(path, path.relative_to(root))
    with tarfile.open(root / "sizes.tar.gz", "w:gz") as archive_:
        archive_.add(root / "sizes", "sizes")
    work = root / "work"
    work.mkdir()
    git("init", "-q", "-b", "main", ".", cwd=work)
    for number in range(20):
        (work / f"file{number}").write_bytes(content(f"git{number}", 3000))
        git("add", ".", cwd=work)
        git("commit", "-q", "-m", f"commit {number}", cwd=work)
    git("clone", "-q", "--bare", work, root / "repo.git", cwd=root)
    git("repack", "-q", "-a", "-d", cwd=root / "repo.git")
    shutil.rmtree(work)
    sums = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n"
        for path in sorted(root.rglob("*"))
        if path.is_file()
    )
    (root / "SHA256SUMS").write_text(sums)
    age(root)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def mount(goods: Path, scratch: Path) -> Iterator[RangefsMount]:
    """One mount for all tools: what one has read, the next finds in the cache."""
    with ExitStack() as stack, mounts_in(scratch, limit_s=300) as make:
        yield stack.enter_context(make(starter(stack, scratch)(Nginx, goods).url))


def same_output(mount: RangefsMount, truth: Path, *words: str) -> bytes:
    """Run in the mount's root and in the folder served: the output must be the same, and not empty."""
    seen = tool(mount, *words, cwd=mount.path).stdout
    assert first_difference(seen, tool(mount, *words, cwd=truth).stdout) is None, seen[:2000]
    assert seen
    return seen


def test_sha256sum_finds_every_file_as_it_was_published(mount: RangefsMount) -> None:
    tool(mount, "sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS", cwd=mount.path)


@pytest.mark.parametrize(
    "command",
    [
        "cat sizes/size-150000.bin sizes/size-0.bin sizes/size-4097.bin",
        "grep -rl needle text | sort",
        "grep -c record text/d0/e0/f00.txt",
        "find . | sort",
        "find . -type f -size +60k -printf '%p %s\\n' | sort",
        "dd if=sizes/size-3145735.bin bs=4093 skip=17 count=301 status=none",
        "dd if=sizes/size-3145735.bin bs=1 skip=3145730 status=none",
        "dd if=sizes/size-150000.bin bs=1M iflag=fullblock status=none",
        "tail -c 1000 sizes/size-3145735.bin",
        "tail -n 3 text/d1/e1/f01.txt",
        "head -c 70000 sizes/size-1048576.bin",
        "head -n 2 text/d1/e1/f01.txt",
        "wc -c sizes/*",
        "wc -l text/d*/e*/*.txt",
        "stat -c '%n %s %F' sizes/*",
        "ls -1",
        "ls -lR --time-style=+ text | awk '/txt/ {print $5, $NF}'",
        "tar tzf sizes.tar.gz",
        "tar xzOf sizes.tar.gz sizes/size-65537.bin",
        "tar cf - --sort=name --mtime=@0 --owner=0 --group=0 --mode=0444 text | tar xOf - text/d1/e1/f01.txt",
        "cmp sizes/size-1.bin sizes/size-1.bin && od -A d -t x1 sizes/size-4097.bin",
        "file sizes/size-0.bin 2>/dev/null || echo none",
        "sqlite3 data.sqlite 'select count(*), sum(length(body)) from t'",
        "sqlite3 data.sqlite \"select id from t where word = 'w13' order by id limit 5\"",
        "sqlite3 data.sqlite 'pragma integrity_check'",
        "git -c safe.directory='*' --git-dir=repo.git log --oneline",
        "git -c safe.directory='*' --git-dir=repo.git fsck --full --no-dangling && echo whole",
    ],
)
def test_command_gives_what_it_gives_on_the_servers_disk(mount: RangefsMount, goods: Path, command: str) -> None:
    same_output(mount, goods, "bash", "-o", "pipefail", "-c", command)


def test_du_counts_about_what_is_there(mount: RangefsMount, goods: Path) -> None:
    seen = int(tool(mount, "du", "-s", "--apparent-size", "-B1", str(mount.path / "sizes")).stdout.split()[0])
    files = sum(path.stat().st_size for path in (goods / "sizes").iterdir())
    assert files <= seen < files + 100_000
    allocated = int(tool(mount, "du", "-s", "-B1", str(mount.path / "sizes")).stdout.split()[0])
    assert allocated >= files, "st_blocks is that of a fully allocated file"


def test_cp_a_copies_bytes_and_times(mount: RangefsMount, goods: Path) -> None:
    copy = mount.base / "copy"
    tool(mount, "cp", "-a", str(mount.path / "sizes"), str(copy))
    for path in (goods / "sizes").iterdir():
        assert first_difference((copy / path.name).read_bytes(), path.read_bytes()) is None
        # nginx tells the minute in its page, and a time once shown stays as it was
        assert abs((copy / path.name).stat().st_mtime - path.stat().st_mtime) < 60


@pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
def test_rsync_copies_and_then_finds_nothing_to_do(mount: RangefsMount, goods: Path) -> None:
    copy = mount.base / "rsynced"
    tool(mount, "rsync", "-a", f"{mount.path}/text/", f"{copy}/")
    assert tool(mount, "diff", "-r", str(copy), str(goods / "text"), check=False).stdout == b""
    again = tool(mount, "rsync", "-ai", f"{mount.path}/text/", f"{copy}/").stdout
    assert b"f+" not in again
    assert b">f" not in again


def test_git_clones_a_bare_repository(mount: RangefsMount, goods: Path) -> None:
    clone = mount.base / "clone"
    tool(mount, "git", "-c", "safe.directory=*", "clone", "-q", f"file://{mount.path}/repo.git", str(clone))
    for number in range(20):
        assert (clone / f"file{number}").read_bytes() == content(f"git{number}", 3000)


def test_zipfile_reads_members_by_seeking(mount: RangefsMount, goods: Path) -> None:
    with zipfile.ZipFile(mount.path / "text.zip") as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            assert archive.read(name) == (goods / name).read_bytes()


def test_mmap_shows_the_file(mount: RangefsMount, goods: Path) -> None:
    truth = (goods / "sizes" / "size-3145735.bin").read_bytes()
    with (
        (mount.path / "sizes" / "size-3145735.bin").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
    ):
        for offset in (2_999_999, 17, 1_048_575, len(truth) - 1):
            assert view[offset : offset + 10] == truth[offset : offset + 10]
        assert first_difference(view[:], truth) is None

"""Where logs go, and what mountinfo says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.cli import mountpoints, places
from rangefs.cli.mountpoints import MountEntry, parse_mountinfo

MOUNTINFO = r"""
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 22 0:40 / /mnt/a\040b\134c\011d\012e ro,nosuid,nodev,relatime shared:7 master:2 - fuse.rangefs http://h/x%20y/ ro,user_id=1000,group_id=5
37 22 0:41 / /mnt/s rw - fuse.sshfs me@h:/ rw,user_id=0,group_id=0,allow_other
38 36 0:42 / /mnt/p rw - proc  rw
nonsense
39 22 0:43 / /mnt/cut
"""  # noqa: E501 - as the kernel writes it


def test_mountinfo_is_read_with_its_escapes_owner_and_optional_fields() -> None:
    entries = list(parse_mountinfo(MOUNTINFO))
    assert entries == [
        MountEntry(Path("/"), "ext4", "/dev/vda", None),
        MountEntry(Path("/mnt/a b\\c\td\ne"), "fuse.rangefs", "http://h/x%20y/", 1000),
        MountEntry(Path("/mnt/s"), "fuse.sshfs", "me@h:/", 0),
        MountEntry(Path("/mnt/p"), "proc", "", None),
    ]
    assert [entry.ours for entry in entries] == [False, True, False, False]


@given(st.text(max_size=200))
def test_any_text_is_read_as_mountinfo_without_an_error(text: str) -> None:
    list(parse_mountinfo(text))


def test_the_kernels_own_mountinfo_has_proc() -> None:
    assert MountEntry(Path("/proc"), "proc", "proc", None) in mountpoints.mounts()


def test_the_upper_of_two_mounts_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    stacked = [MountEntry(Path("/m"), "ext4", "a", None), MountEntry(Path("/m"), "fuse.rangefs", "b", 0)]
    monkeypatch.setattr(mountpoints, "mounts", lambda: stacked)
    assert mountpoints.mount_at(Path("/m")) == stacked[1]
    assert mountpoints.mount_at(Path("/m/x")) is None


@pytest.mark.parametrize(
    ("uid", "environment", "first"),
    [
        (0, {}, "/var/log/rangefs"),
        (0, {"HOME": "/root"}, "/var/log/rangefs"),
        (0, {"XDG_STATE_HOME": "/s"}, "/s/rangefs"),
        (54321, {"HOME": "/home/u"}, "/home/u/.local/state/rangefs"),
        (54321, {"HOME": "/home/u", "XDG_STATE_HOME": "rel"}, "/home/u/.local/state/rangefs"),
        (54321, {"XDG_STATE_HOME": "/s"}, "/s/rangefs"),
        (54321, {}, "/tmp/rangefs-54321"),
    ],
)
def test_where_logs_go(uid: int, environment: dict[str, str], first: str) -> None:
    assert places.log_folders(uid, environment)[0] == Path(first)


def test_a_folder_that_cannot_be_made_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(places, "log_folders", lambda *_: [tmp_path / "file" / "x", tmp_path / "good"])
    assert places.log_path(Path("/mnt/x")).parent == tmp_path / "good"

"""The server is away when the mount begins: what is cached is served, the rest is an error, nothing looks deleted."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.e2e.conftest import MakeMount
from tests.servers import Nginx
from tests.trees import MiB, age, content, first_difference

pytestmark = pytest.mark.mount

OUTAGE = {errno.EIO, errno.ETIMEDOUT}


@pytest.mark.parametrize("server_is", ["up", "down"])
def test_an_offline_mount_serves_what_an_earlier_one_has_read(
    server_is: str, start_server: StartServer, make_mount: MakeMount, www: Path
) -> None:
    cached = content("cached", 3 * MiB)
    (www / "folder").mkdir()
    (www / "folder" / "cached.bin").write_bytes(cached)
    (www / "folder" / "cold.bin").write_bytes(b"cold")
    (www / "unseen").mkdir()
    age(www)
    server = start_server(Nginx, www)
    with make_mount(server.url) as mount:
        assert first_difference((mount.path / "folder" / "cached.bin").read_bytes(), cached) is None
        assert len(os.listdir(mount.path / "folder")) == 2
        time.sleep(1.5)
        mount.kill()
        server.forget()
        if server_is == "down":
            server.stop()
        mount.options["offline"] = True
        mount.start()
        mount.expect_log("offline")
        assert sorted(os.listdir(mount.path)) == ["folder", "unseen"]
        assert sorted(os.listdir(mount.path / "folder")) == ["cached.bin", "cold.bin"]
        seen = mount.path / "folder" / "cached.bin"
        assert first_difference(seen.read_bytes(), cached) is None
        assert seen.stat().st_size == len(cached)
        assert os.getxattr(seen, "user.rangefs.state") == b"offline"
        for action in ((mount.path / "folder" / "cold.bin").read_bytes, lambda: os.listdir(mount.path / "unseen")):
            with pytest.raises(OSError, match="Errno") as refused:
                action()
            assert refused.value.errno in OUTAGE
        assert mount.status()["state"] == "offline"
        if server_is == "up":
            assert server.log() == [], "offline means that nothing is asked"
            return
        mount.stop()
        server.start()
        mount.options["offline"] = False
        mount.start()
        assert first_difference(seen.read_bytes(), cached) is None
        assert (mount.path / "folder" / "cold.bin").read_bytes() == b"cold"
        assert [one for one in server.log() if one.uri.endswith("cached.bin") and one.body_bytes] == []

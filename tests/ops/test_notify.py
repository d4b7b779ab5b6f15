"""What systemd is told, on real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from rangefs.ops.notify import Notifier, notifier_from


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(10)
        yield listening


def test_ready_status_and_stopping_are_each_one_datagram(manager: socket.socket) -> None:
    notifier = notifier_from({"NOTIFY_SOCKET": manager.getsockname()})
    notifier.ready("Mounted on /mnt")
    notifier.status("busy")
    notifier.stopping()
    received = [manager.recv(4096) for _ in range(3)]
    assert received == [b"READY=1\nSTATUS=Mounted on /mnt", b"STATUS=busy", b"STOPPING=1\nSTATUS=Unmounting"]


def test_an_abstract_address_begins_with_an_at_sign() -> None:
    name = f"rangefs-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        listening.settimeout(10)
        notifier_from({"NOTIFY_SOCKET": "@" + name}).status("x")
        assert listening.recv(100) == b"STATUS=x"


def test_without_a_manager_nothing_is_said() -> None:
    assert notifier_from({}) == Notifier() == notifier_from({"NOTIFY_SOCKET": "vsock:2:1234"})
    Notifier().ready("x")


def test_a_manager_that_is_gone_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Notifier(str(tmp_path / "none")).ready("x")
    assert "was not told" in caplog.text


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_s"),
    [
        ("2000000", "", 2.0),
        ("2000000", str(os.getpid()), 2.0),
        ("2000000", "1", None),
        ("0", "", None),
        ("x", "", None),
    ],
)
def test_the_watchdog_is_on_only_where_it_is_meant_for_us(usec: str, pid: str, watchdog_s: float | None) -> None:
    environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": usec, "WATCHDOG_PID": pid}
    assert notifier_from(environment).watchdog_s == watchdog_s


async def test_the_watchdog_hears_twice_in_each_interval(
    manager: socket.socket, autojump_clock: trio.testing.MockClock
) -> None:
    notifier = Notifier(manager.getsockname(), watchdog_s=10)
    with trio.move_on_after(24):
        await notifier.keep_alive()
    assert [manager.recv(100) for _ in range(5)] == [b"WATCHDOG=1"] * 5
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(100)


async def test_without_a_watchdog_there_is_nothing_to_keep_alive() -> None:
    await Notifier("/x").keep_alive()

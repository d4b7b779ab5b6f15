"""Notifications to systemd: ready, stopping, still alive. The protocol is sd_notify(3)'s, one datagram a message."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import trio

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Notifier:
    """Says things to the service manager; to nobody where none listens.

    address     of its socket, as in NOTIFY_SOCKET; "" for nobody
    watchdog_s  how often it wants to hear that we live; None for never
    """

    address: str = ""
    watchdog_s: float | None = None

    def ready(self, status: str) -> None:
        """The mount answers."""
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """No more work is taken."""
        self._send("STOPPING=1\nSTATUS=Unmounting")

    async def keep_alive(self) -> None:
        """Say WATCHDOG=1 twice as often as wanted, for as long as the event loop runs; returns at once if unwanted."""
        while self.watchdog_s is not None and self.address:
            self._send("WATCHDOG=1")
            await trio.sleep(self.watchdog_s / 2)

    def _send(self, message: str) -> None:
        if not self.address:
            return
        # A name that begins with "@" is in the abstract namespace, whose names begin with NUL: unix(7).
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.setblocking(False)  # a manager that does not listen must not stop the mount
                channel.sendto(message.encode(), address)
        except OSError as error:
            logger.warning("systemd was not told %r: %s", message, error)


def notifier_from(environment: Mapping[str, str]) -> Notifier:
    """The notifier that NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID call for: sd_watchdog_enabled(3)."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return Notifier()
    interval, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    ours = not pid or pid == str(os.getpid())
    return Notifier(address, int(interval) / 1e6 if ours and interval.isdecimal() and int(interval) > 0 else None)

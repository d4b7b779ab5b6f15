"""A network that tests may break: a namespace behind a cable, a server in it, and names that only one mount knows.

Nothing of the machine is changed: the cable (a veth pair) and its addresses are taken away again, and /etc/hosts and
/etc/resolv.conf are covered for the one process that mounts, in a mount namespace of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.mounts import Option, RangefsMount
from tests.servers import Nginx

NAME = "far.test"  # RFC 2606: never a real one
# 198.18.0.0/15 is for tests between networks (RFC 2544): nobody routes it.
SUBNETS = range(1, 250)
TOOLS = ("ip", "nsenter", "unshare", "mount")
PRIVATELY = """
for place in / /etc/hosts /etc/resolv.conf; do mount --make-private "$place" 2>/dev/null || true; done
mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"
"""


class Unsupported(Exception):
    """This machine lets nobody make networks; the message says what was refused."""


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    if done.returncode:
        raise Unsupported(f"{' '.join(command)}: {done.stderr.strip()}")


class Beyond:
    """The network: our end of the cable is in this machine, the other one in the namespace."""

    def __init__(self) -> None:
        self.name = f"rangefs-{os.getpid()}"
        self.ours = f"rfs{os.getpid()}"[:15]
        self._subnet = f"198.18.{SUBNETS[os.getpid() % len(SUBNETS)]}"

    def address(self, number: int) -> str:
        return f"{self._subnet}.{number}"

    def __enter__(self) -> Self:
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            raise Unsupported(f"{missing[0]} is not installed")
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self.ours, "type", "veth", "peer", "name", "far0", "netns", self.name)
            # Else the machine's own gateway is asked where ours is gone, and some answer whatever they are asked.
            run("ip", "route", "add", "unreachable", f"{self.address(0)}/24", "metric", "9999")
            self.settle(1)
            run("ip", "link", "set", self.ours, "up")
            self.settle_theirs(2)
            self.theirs("link", "set", "lo", "up")
            self.cable(True)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        route = ["route", "del", "unreachable", f"{self.address(0)}/24", "metric", "9999"]
        for words in (["link", "del", self.ours], ["netns", "del", self.name], route):
            subprocess.run(["ip", *words], check=False, capture_output=True, timeout=20)

    def theirs(self, *words: str) -> None:
        """``ip`` in the namespace."""
        run("ip", "-netns", self.name, *words)

    def cable(self, plugged: bool) -> None:
        """Pulled at their end: at ours it looks as if it were in, and nothing comes."""
        self.theirs("link", "set", "far0", "up" if plugged else "down")

    def settle_theirs(self, number: int) -> None:
        """The server's address; the one before is gone."""
        self.theirs("addr", "flush", "dev", "far0")
        self.theirs("addr", "add", f"{self.address(number)}/24", "dev", "far0")

    def settle(self, number: int) -> None:
        """Our address; the one before is gone."""
        run("ip", "addr", "flush", "dev", self.ours)
        run("ip", "addr", "add", f"{self.address(number)}/24", "dev", self.ours)


class FarNginx(Nginx):
    """nginx in the namespace, on all addresses there."""

    def __init__(self, beyond: Beyond, root: Path, scratch: Path, *, extra: str = "") -> None:
        super().__init__(root, scratch, extra=extra)
        self.beyond = beyond
        self.host = beyond.address(2)

    def command(self) -> list[str]:
        found, self.host = self.host, "0.0.0.0"
        try:
            command = super().command()
        finally:
            self.host = found
        return ["nsenter", f"--net=/run/netns/{self.beyond.name}", *command]


class FarMount(RangefsMount):
    """A mount of ``http://far.test:PORT/``: what that name leads to is for the test to say, by `hosts`."""

    def __init__(self, base: Path, server: FarNginx, **options: Option) -> None:
        super().__init__(base, f"http://{NAME}:{server.port}/", **options)
        self._hosts = base / "hosts"
        self._resolver = base / "resolv.conf"
        base.mkdir(exist_ok=True)
        self._resolver.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")  # nobody listens there
        self.hosts(server.host)

    def hosts(self, address: str | None) -> None:
        """The name leads there, or is not known to anybody."""
        self._hosts.write_text("127.0.0.1 localhost\n" + (f"{address} {NAME}\n" if address else ""))

    def mount_command(self) -> list[str]:
        # The namespace is a copy; what is mounted below `base`, which is shared, is seen in both.
        private = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", PRIVATELY, "sh"]
        return [*private, str(self._hosts), str(self._resolver), *super().mount_command()]

    def start(self) -> None:
        run("mount", "--bind", str(self.base), str(self.base))
        run("mount", "--make-shared", str(self.base))
        try:
            super().start()
        except BaseException:
            self._unshare()
            raise

    def kill(self) -> None:
        super().kill()
        self._unshare()

    def _unshare(self) -> None:
        subprocess.run(["umount", "-l", str(self.base)], check=False, capture_output=True, timeout=20)

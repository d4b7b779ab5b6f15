"""What a real web server in a test is: one folder, a free loopback port, a process group of its own, a log.

Nothing is shared with a system-wide installation: own configuration, own logs, own pid files, all under a scratch
folder. A server is a context manager; leaving it ends its whole process group and nothing else.
"""

from __future__ import annotations

import http.client
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
QUIET_S = 0.1  # far above what a runnable thread waits for a core
PORT_DRAWS = 20
# Below Linux's default ephemeral range (32768…): no outgoing connection can take a port between two starts of a server.
PORTS = range(20_000, 32_000)
SEARCH_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class MissingBinary(Exception):
    """A server's program is not on this machine; the message says what to install."""


class ServerFailed(Exception):
    """A server did not come up; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Request:
    """One line of an access log: a request that has ended.

    body_bytes  as the server counts what it sent, headers left out; 0 where its log does not say
    range       the Range header as asked, "" if there was none
    uri         the path, as this server's log writes it (nginx: decoded, control bytes as ``\\x0A``)
    """

    method: str
    status: int
    body_bytes: int
    range: str
    uri: str


def find_binary(*names: str, hint: str) -> str:
    """The first of `names` that is installed. Raises `MissingBinary` with one line."""
    for name in names:
        if path := shutil.which(name, path=SEARCH_PATH):
            return path
    raise MissingBinary(f"{names[0]} is not installed: {hint}")


def draw_port() -> int:
    """A port nobody listens on at this moment; who uses it must be ready to lose a race and draw again."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def as_spec(word: str) -> str:
    """A log field: ``-`` means empty."""
    return "" if word == "-" else word


class Server:
    """One real server: started on entry, ended on exit, never touching a process it did not start.

    root     the folder served: change it at will, what is on disk there is the truth
    scratch  the server's own folder for configuration and logs
    url      of the root folder, with the final slash
    """

    name: ClassVar[str]
    flavour: str = ""  #: the variant, as tests name it
    has_ranges: ClassVar[bool] = True
    one_worker: ClassVar[bool] = True  #: one event loop writes the log, or the line comes before the last byte
    host: str = "127.0.0.1"  #: where it listens, for those who can say so, and where it is found

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.scratch = scratch
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    # -- what each server says of itself -------------------------------------

    def command(self) -> list[str]:
        """Write the configuration for `port` and give the command that runs in the foreground."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.scratch), "TZ": "UTC"}

    def parse_log(self, text: str) -> Iterable[Request]:
        """Our own log format: method, status, bytes, range, then the path to the end of the line."""
        for line in text.splitlines():
            method, status, size, asked, uri = line.split(" ", 4)
            yield Request(method, int(status), int(as_spec(size) or 0), as_spec(asked), uri)

    # -- life -----------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    @property
    def log_path(self) -> Path:
        return self.scratch / "access.log"

    def __enter__(self) -> Self:
        self.scratch.mkdir(parents=True, exist_ok=True)
        for _ in range(PORT_DRAWS):
            self.port = draw_port()
            try:
                self.start()
            except ServerFailed:
                continue
            return self
        self.port = draw_port()
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Run on `port` and wait until it answers. Raises `ServerFailed` (a taken port among the reasons)."""
        command = self.command()
        with (self.scratch / "output").open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.scratch,
                start_new_session=True,
            )
        give_up = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > give_up:
                said = (self.scratch / "output").read_text(errors="replace").strip()
                self.stop()
                raise ServerFailed(f"{self.name} on port {self.port} did not come up: {said[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Does the root answer anything at all, and is it our process that could have?"""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        try:
            connection.request("HEAD", "/")
            connection.getresponse().read()
        except OSError:
            return False
        finally:
            connection.close()
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End the process group: asked first, then made to. A stopped server refuses connections."""
        if self._process is None:
            return
        for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
            self._signal(number)
            self._signal(signal.SIGCONT)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
            break
        self._signal(signal.SIGKILL)  # workers that outlived their master
        self._process = None

    def pause(self) -> None:
        """Fall silent without refusing: connections open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group; a group that has gone is no error."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    # -- the witness ------------------------------------------------------------

    def log(self) -> list[Request]:
        """Requests that have ended since `forget`, oldest first."""
        self.settle_log()
        data = self.log_path.read_bytes()[self._log_offset :]
        complete = data[: data.rfind(b"\n") + 1]
        return [seen for seen in self.parse_log(complete.decode(errors="surrogateescape")) if seen.uri != self.marker]

    def forget(self) -> None:
        """Start the log anew."""
        self.settle_log()
        self._log_offset = self.log_path.stat().st_size

    def body_bytes(self, uri: str | None = None) -> int:
        """Bytes of bodies sent by GET since `forget`, of one path or of all."""
        return sum(seen.body_bytes for seen in self.log() if seen.method == "GET" and uri in (None, seen.uri))

    marker = "/.rangefs-marker"

    def settle_log(self) -> None:
        """Return once every request whose last byte had left before this call is in the log.

        A server writes its line after the last byte, so a reader can be ahead of the log. A request of our own,
        made now, ends later than all of those in a server of one worker; with more workers a pause follows.
        """
        if self._process is None:
            return
        before = self.log_path.stat().st_size if self.log_path.exists() else 0
        connection = http.client.HTTPConnection(self.host, self.port, timeout=5)
        connection.request("HEAD", self.marker)
        connection.getresponse().read()
        connection.close()
        give_up = time.monotonic() + 5
        while self.marker.encode() not in self._log_since(before):
            self.flush_log()
            assert time.monotonic() < give_up, f"{self.name} does not write its access log"
            time.sleep(0.005)
        size = -1
        while not self.one_worker and size != (size := self.log_path.stat().st_size):
            time.sleep(QUIET_S)

    def flush_log(self) -> None:
        """Make the server write out lines it holds back. Most hold none."""

    def _log_since(self, offset: int) -> bytes:
        if not self.log_path.exists():
            return b""
        with self.log_path.open("rb") as log:
            log.seek(offset)
            return log.read()

"""A process that goes on in the background once it says that it is ready.

Forked, not started anew: at this point nothing but the standard library has
been imported and no thread runs, so the child is as good as a fresh process,
a second start-up is saved, and no search path of the current folder can slip
another module in.
"""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rangefs.errors import MountError, RangefsError, UsageError

logger = logging.getLogger(__name__)

Work = Callable[[Callable[[], None]], None]


def run_in_background(work: Work, log: Path, timeout_s: float) -> None:
    """Run ``work(on_ready)`` in a child of its own session; return once it has called `on_ready`.

    log        where its standard error goes; logs are the work's own affair
    timeout_s  a child that is not ready by then is stopped

    Raises `RangefsError` if the log can't be opened, and what the child raised if it ends earlier: its one line, with
    its exit code. Ctrl-C stops the child too.
    """
    try:
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY, 0o600)
    except OSError as error:
        raise RangefsError(f"log file {log}: {error.strerror}") from error
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _child(work, log, errors, writing)
    os.close(writing)
    os.close(errors)
    try:
        said = _wait(reading, timeout_s)
    except BaseException:
        _stop(child)
        raise
    finally:
        os.close(reading)
    if not said:
        _, status = os.waitpid(child, 0)
        raise MountError(f"rangefs ended before the mount answered ({_how(status)}): see {log}")
    outcome = json.loads(said)
    if "error" in outcome:
        os.waitpid(child, 0)
        raise UsageError(outcome["error"]) if outcome["exit_code"] == 2 else MountError(outcome["error"])


def _wait(reading: int, timeout_s: float) -> bytes:
    """One line from the child; b"" if it ended without one."""
    deadline = time.monotonic() + timeout_s
    received = b""
    while not received.endswith(b"\n"):
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise MountError(f"the mount did not answer within {timeout_s:.0f} s: try --foreground --log-level debug")
        piece = os.read(reading, 4096)
        if not piece:
            return b""
        received += piece
    return received


def _stop(child: int) -> None:
    """End the child: politely, so that it unmounts, then for good."""
    os.kill(child, signal.SIGTERM)
    for _ in range(100):
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def _child(work: Work, log: Path, errors: int, writing: int) -> None:
    """The child's whole life; never returns."""
    code = 1
    try:
        _leave_the_terminal(errors, writing)

        def on_ready() -> None:
            os.write(writing, b"{}\n")
            os.close(writing)

        work(on_ready)
        code = 0
    except RangefsError as error:
        code = error.exit_code
        _tell(writing, str(error), code)
        logger.error("%s", error)  # noqa: TRY400 - one line says it; a traceback would say that we are at fault
    except BaseException as error:  # the last boundary of this process: nobody above could report it
        logger.exception("the mount ended")
        _tell(writing, f"internal error ({type(error).__name__}): see {log}", code)
    finally:
        logging.shutdown()
        os._exit(code)


def _tell(writing: int, message: str, exit_code: int) -> None:
    try:
        os.write(writing, json.dumps({"error": message, "exit_code": exit_code}).encode() + b"\n")
    except OSError:  # said that it was ready before: the log has it
        return


def _leave_the_terminal(errors: int, writing: int) -> None:
    """A new session, no folder held, no inherited files but `writing`: who started us may wait for them to close."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    nothing = os.open(os.devnull, os.O_RDWR)
    for old, new in ((nothing, 0), (nothing, 1), (errors, 2)):
        os.dup2(old, new)
    for first, last in ((3, writing), (writing + 1, os.sysconf("SC_OPEN_MAX"))):
        os.closerange(first, last)

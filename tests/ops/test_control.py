"""The control socket, on real sockets."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from rangefs.errors import NotFound, RangefsError
from rangefs.ops import control


async def echo(request: dict[str, Any]) -> dict[str, Any]:
    await trio.lowlevel.checkpoint()
    return {"said": request.get("text", "")}


async def refuse(request: dict[str, Any]) -> dict[str, Any]:
    raise NotFound("no such file: look again")


async def broken(request: dict[str, Any]) -> dict[str, Any]:
    raise ZeroDivisionError("ours")


HANDLERS = {"echo": echo, "refuse": refuse, "broken": broken}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.sock"


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        await nursery.start(control.serve_control, path, HANDLERS)
        yield
        nursery.cancel_scope.cancel()


async def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    return await trio.to_thread.run_sync(control.ask, path, request)


async def say(path: Path, sent: bytes) -> bytes:
    """Send raw bytes, end our side, return everything that comes back."""
    async with await trio.open_unix_socket(str(path)) as stream:
        await stream.send_all(sent)
        await stream.send_eof()
        return b"".join([piece async for piece in stream])


async def test_a_request_is_answered_with_its_handlers_result(path: Path) -> None:
    async with served(path):
        assert await ask(path, {"command": "echo", "text": "ü\n"}) == {"said": "ü\n"}


async def test_a_refusal_is_told_in_the_mounts_own_words(path: Path) -> None:
    async with served(path):
        with pytest.raises(RangefsError, match=r"^no such file: look again$"):
            await ask(path, {"command": "refuse"})
        with pytest.raises(RangefsError, match="no command is called 'dance'"):
            await ask(path, {"command": "dance"})


async def test_a_fault_of_a_handler_is_logged_and_ends_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with served(path):
        with caplog.at_level(logging.ERROR), pytest.raises(RangefsError, match="internal error"):
            await ask(path, {"command": "broken"})
        assert "ZeroDivisionError" in caplog.text
        assert await ask(path, {"command": "echo"}) == {"said": ""}


@pytest.mark.parametrize(
    "garbage",
    [b"\n", b"{\n", b"[]\n", b"null\n", b'"status"\n', b"\xff\xfe\n", b"[" * 60000 + b"\n", b'{"command": {}}\n'],
)
async def test_garbage_is_refused_in_one_line(path: Path, garbage: bytes) -> None:
    async with served(path):
        answer = await say(path, garbage)
        assert answer.endswith(b"\n")
        assert json.loads(answer)["ok"] is False
        assert await ask(path, {"command": "echo"}) == {"said": ""}


@pytest.mark.parametrize("sent", [b"", b'{"command": "echo"}'])
async def test_half_a_line_is_not_answered(path: Path, sent: bytes) -> None:
    async with served(path):
        assert await say(path, sent) == b""


async def test_a_request_beyond_the_bound_is_cut_off(path: Path) -> None:
    async with served(path), await trio.open_unix_socket(str(path)) as stream:
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x" * (64 << 20))


async def test_a_silent_peer_is_in_nobodys_way(path: Path) -> None:
    async with served(path):
        silent = [await trio.open_unix_socket(str(path)) for _ in range(8)]
        assert await ask(path, {"command": "echo"}) == {"said": ""}
        for stream in silent:
            await stream.aclose()


async def test_a_peer_that_leaves_before_its_answer_ends_nothing(path: Path) -> None:
    async with served(path):
        for _ in range(20):
            async with await trio.open_unix_socket(str(path)) as stream:
                await stream.send_all(b'{"command": "echo"}\n')
        assert await ask(path, {"command": "echo"}) == {"said": ""}


async def test_many_peers_at_once_are_all_answered(path: Path) -> None:
    answers: list[str] = []

    async def one(text: str) -> None:
        answers.append((await ask(path, {"command": "echo", "text": text}))["said"])

    wanted = [str(number) for number in range(3 * control.MOST_PEERS)]
    async with served(path), trio.open_nursery() as nursery:
        for text in wanted:
            nursery.start_soon(one, text)
    assert sorted(answers) == sorted(wanted)


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_the_socket_is_private_and_gone_in_the_end(path: Path) -> None:
    async with served(path):
        assert modes_in(path.parent) == {path.name: 0o600}
    assert modes_in(path.parent) == {}


async def test_a_stale_socket_is_taken_over(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    async with served(path):
        assert await ask(path, {"command": "echo"}) == {"said": ""}


async def test_the_later_mount_owns_the_name_and_the_earlier_leaves_it_alone(path: Path) -> None:
    async with trio.open_nursery() as nursery:
        earlier = await nursery.start(_held, path)
        async with served(path):
            earlier.cancel()
            await trio.testing.wait_all_tasks_blocked()
            assert await ask(path, {"command": "echo"}) == {"said": ""}


async def _held(path: Path, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    with trio.CancelScope() as scope:
        async with served(path):
            task_status.started(scope)
            await trio.sleep_forever()


async def test_a_path_that_cannot_be_bound_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(RangefsError, match="control socket")):
        async with served(tmp_path / "no" / "x.sock"):
            pass


# -- the client -------------------------------------------------------------------


def test_a_socket_that_a_dead_process_left_is_removed(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with pytest.raises(control.NotServing, match="gone"):
        control.ask(path, {"command": "status"})
    assert not path.exists()


def test_no_socket_is_not_serving(path: Path) -> None:
    with pytest.raises(control.NotServing):
        control.ask(path, {"command": "status"})


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"{"])
def test_a_nonsense_answer_is_not_serving(path: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer_once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        with pytest.raises(control.NotServing, match="no answer"):
            control.ask(path, {"command": "status"})
        thread.join()


def test_the_owner_is_known_even_if_it_never_answers(path: Path) -> None:
    program = (
        "import socket, sys\n"
        "with socket.socket(socket.AF_UNIX) as s:\n"
        "    s.bind(sys.argv[1]); s.listen(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert control.owner_of(path) == control.Peer(process.pid, os.geteuid())
        process.communicate()


# -- names and places -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/mnt/data", "/mnt/" + "x" * 300, "/mnt/ü b\nc", "/..."])
def test_the_name_of_a_mount_is_one_short_safe_component(path: str) -> None:
    name = control.mount_name(Path(path))
    assert len(name) <= 49
    assert name.replace("-", "").replace(".", "").replace("_", "").isalnum()
    assert not name.startswith(".")


def test_mount_points_that_read_alike_have_names_of_their_own() -> None:
    assert control.mount_name(Path("/mnt/a-b")) != control.mount_name(Path("/mnt/a/b"))


def test_roots_sockets_are_in_run_whatever_the_environment_says() -> None:
    assert control.control_folders(0, {"XDG_RUNTIME_DIR": "/tmp/x"}) == [Path("/run/rangefs")]


def test_a_users_sockets_fall_back_to_a_folder_of_the_users_own() -> None:
    assert control.control_folders(54321, {})[-1] == Path("/tmp/rangefs-54321")


def test_a_folder_of_ours_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir(mode=0o755)
    control.private_folder(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_link_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        control.private_folder(tmp_path / "f")

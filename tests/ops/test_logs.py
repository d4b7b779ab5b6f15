"""Logs are one line an event and hold no secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangefs.ops import logs

SECRET = "hunter2hunter2"
LEAKS = [
    f"GET https://h/f?X-Amz-Signature={SECRET}&x=1 200",
    f"redirected to https://h/f?sig={SECRET}",
    f"at https://me:{SECRET}@h/f",
    f"headers: Authorization: Bearer {SECRET}",
    f"[('authorization', 'Bearer {SECRET}')]",
    f"[(b'Cookie', b'id={SECRET}')]",
    f"x-api-key={SECRET}",
    f"x-amz-security-token: {SECRET}",
    f"sent basic {SECRET}",
]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    root, ours = logging.getLogger(), logging.getLogger("rangefs")
    kept = (root.handlers[:], root.level, ours.level)
    root.handlers = []
    yield tmp_path / "log"
    for handler in root.handlers:
        handler.close()
    root.handlers = kept[0]
    root.setLevel(kept[1])
    ours.setLevel(kept[2])


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("leak", LEAKS)
def test_no_secret_reaches_a_log(log: Path, form: str, leak: str) -> None:
    logs.set_up_logs("info", form, log)
    logging.getLogger("rangefs.x").info("%s", leak)
    try:
        raise ValueError(leak)  # noqa: TRY301 - to have a traceback that tells it
    except ValueError:
        logging.getLogger("rangefs.x").exception("failed")
    assert SECRET not in log.read_text()
    assert "REDACTED" in log.read_text() or "https://h/f" in log.read_text()


def test_text_is_one_line_with_time_level_and_logger(log: Path) -> None:
    logs.set_up_logs("info", "text", log)
    logging.getLogger("rangefs.store").warning("two\nlines")
    (line,) = log.read_text().splitlines()
    assert line.endswith(r"Z WARNING rangefs.store: two\nlines")


def test_json_is_one_object_a_line(log: Path) -> None:
    logs.set_up_logs("info", "json", log)
    logging.getLogger("rangefs.store").warning("ü\n%d", 5)
    event = json.loads(log.read_text())
    assert (event["level"], event["logger"], event["message"]) == ("warning", "rangefs.store", "ü\n5")


def test_the_level_is_ours_and_libraries_only_warn(log: Path) -> None:
    logs.set_up_logs("debug", "text", log)
    logging.getLogger("rangefs").debug("ours")
    logging.getLogger("httpx").info("theirs")
    assert "ours" in log.read_text()
    assert "theirs" not in log.read_text()


def test_setting_up_again_replaces(log: Path) -> None:
    logs.set_up_logs("info", "text", log)
    logs.set_up_logs("info", "text", log)
    logging.getLogger("rangefs").info("once")
    assert log.read_text().count("once") == 1


@given(st.text(max_size=200))
def test_redacting_leaves_one_line_one_line_and_never_fails(text: str) -> None:
    assert logs.redact(text).count("\n") <= text.count("\n")


@pytest.mark.parametrize(
    "text", ["read 5 of 10 bytes at 0", "GET http://h/a/b.txt 206", "token bucket is empty", "a = b"]
)
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert logs.redact(text) == text

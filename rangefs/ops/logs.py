"""Logs: one line an event, as text or as JSON, without secrets.

Under systemd and in the foreground lines go to standard error; in the
background to a file that is renamed to ``….1`` when it is full.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import re
import sys
import time
from pathlib import Path

from rangefs.core.redact import HIDDEN, redact_url

# A header as it may stand in a library's message: name, then ":" or "=" or a repr's comma, then the rest of the line.
SECRET_LINE = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie|x-[\w-]*token|[\w-]*api-?key)\b(['\"]?\s*[:=,]\s*)[^\n]+",
    re.IGNORECASE,
)
BEARER = re.compile(r"\b(bearer|basic) +[\w.~+/=-]{6,}", re.IGNORECASE)
LARGEST_LOG = 4 << 20  #: bytes; two files of it at most
HANDLED_BY_US = ("rangefs",)
FOREIGN_LEVEL = logging.WARNING  #: httpx says each request at INFO, httpcore each byte at DEBUG


class TextFormatter(logging.Formatter):
    """``2026-11-23T22:00:00.123Z WARNING rangefs.store: message``"""

    def format(self, record: logging.LogRecord) -> str:
        return redact(f"{_time(record)} {record.levelname} {record.name}: {_message(self, record)}")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        event = {"time": _time(record), "level": record.levelname.lower(), "logger": record.name}
        event["message"] = redact(record.getMessage())
        if record.exc_info:
            event["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(event, ensure_ascii=False)


def redact(text: str) -> str:
    """`text` without what looks like a secret: rather too much hidden than too little."""
    urls = " ".join(redact_url(word) if "=" in word or "://" in word else word for word in text.split(" "))
    return BEARER.sub(rf"\1 {HIDDEN}", SECRET_LINE.sub(rf"\1\2{HIDDEN}", urls))


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The message on one line, its traceback (a fault of ours) on lines of its own."""
    message = record.getMessage().replace("\n", "\\n")
    return f"{message}\n{formatter.formatException(record.exc_info)}" if record.exc_info else message


def set_up_logs(level: str, form: str, path: Path | None = None) -> None:
    """Send logs to `path`, or to standard error. Replaces what an earlier call set up.

    level  debug, info, warning or error
    form   text or json

    Raises `OSError` if `path` can't be opened.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if path is not None:
        handler = logging.handlers.RotatingFileHandler(
            path, maxBytes=LARGEST_LOG, backupCount=1, encoding="utf-8", errors="backslashreplace"
        )
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(FOREIGN_LEVEL)
    for name in HANDLED_BY_US:
        logging.getLogger(name).setLevel(level.upper())

"""What only the tests of sources need."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.serving import SEARCH_PATH, MissingBinary, find_binary


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, as one PEM file."""
    try:
        openssl = find_binary("openssl", hint="apt-get install openssl")
    except MissingBinary as missing:
        pytest.skip(f"{missing} (looked in {SEARCH_PATH})")
    folder = tmp_path_factory.mktemp("tls")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=rangefs test", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True, timeout=60)
    pem = folder / "both.pem"
    pem.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return pem


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other at once: the dice always fall on zero."""
    monkeypatch.setattr("rangefs.sources.exchange.random.random", lambda: 0.0)

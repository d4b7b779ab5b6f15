"""What the file under test holds."""

from __future__ import annotations

import random

import pytest


@pytest.fixture(scope="session")
def content() -> bytes:
    return random.Random(2).randbytes(10 << 20)

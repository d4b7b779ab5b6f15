"""Parsers against bytes that nobody meant: what was found once is played again, then a bounded draw.

``python -m tests.fuzz.run`` is the long form.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FOUND = sorted(CORPUS.glob("*/*"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_found_once_stays_mended(path: Path) -> None:
    TARGETS[path.parent.name.replace("-", " ")].play(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_right_inputs_are_read_without_complaint(name: str) -> None:
    for seed in TARGETS[name].seeds():
        TARGETS[name].play(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_inputs_end_in_a_declared_error(name: str) -> None:
    draw = random.Random(name)
    seeds = TARGETS[name].seeds() or [b""]
    for _ in range(150):
        TARGETS[name].play(mutated(draw.choice(seeds)[:4000], draw))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=300))
def test_any_bytes_end_in_a_declared_error(name: str, data: bytes) -> None:
    TARGETS[name].play(data)

"""Rules of `core.names`: any bytes can be shown, no two names collide, and what can be undone is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rangefs.core.names import MAX_NAME_BYTES, beside_folder, component, legal, unescape
from rangefs.errors import InvalidName

# Names of the characters that the scheme itself uses, beside arbitrary ones.
HOSTILE = st.lists(
    st.sampled_from([b"%", b"%%", b"+", b"=", b"/", b"\0", b".", b"2F", b"a", b"\xff"]), max_size=140
).map(b"".join)
RAW = st.one_of(HOSTILE, st.binary(max_size=300), st.text(max_size=120).map(lambda text: text.encode()))
ESCAPERS = st.sampled_from([component, beside_folder])


@given(raw=RAW, escape=ESCAPERS)
@example(raw=b"", escape=component)
@example(raw=b"..", escape=beside_folder)
def test_every_name_is_a_legal_component(raw: bytes, escape: object) -> None:
    name = component(raw) if escape is component else beside_folder(raw)
    assert legal(name.name)
    assert 0 < len(name.name) <= MAX_NAME_BYTES
    assert b"/" not in name.name
    assert b"\0" not in name.name
    assert name.name not in (b".", b"..")
    assert name.escaped == (name.name != raw)


@given(raw=RAW)
def test_escaping_is_undone_unless_it_was_hashed(raw: bytes) -> None:
    for name in (component(raw).name, beside_folder(raw).name):
        if name.startswith((b"%%=", b"%%+=")):
            assert len(name) > 200
            with pytest.raises(InvalidName):
                unescape(name)
        else:
            assert unescape(name) == raw


@given(one=RAW, other=RAW)
def test_different_names_stay_different(one: bytes, other: bytes) -> None:
    if one != other:
        assert component(one).name != component(other).name
        assert beside_folder(one).name != beside_folder(other).name
    assert component(one).name != beside_folder(other).name


@given(name=st.one_of(RAW, HOSTILE.map(lambda tail: b"%%" + tail)))
def test_unescape_accepts_only_what_is_shown(name: bytes) -> None:
    try:
        raw = unescape(name)
    except InvalidName:
        return
    assert name in (component(raw).name, beside_folder(raw).name)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain.txt", b"plain.txt"),
        (b"%2Fslash", b"%2Fslash"),
        ("e\u0301.txt".encode(), "e\u0301.txt".encode()),
        (b"latin1-\xe9", b"latin1-\xe9"),
        (b"new\nline", b"new\nline"),
        (b"a/b", b"%%a%2Fb"),
        (b"", b"%%"),
        (b".", b"%%%2E"),
        (b"..", b"%%%2E%2E"),
        (b"nul\0", b"%%nul%00"),
        (b"%%a%2Fb", b"%%%25%25a%252Fb"),
        (b"%%=x", b"%%%25%25%3Dx"),
    ],
)
def test_golden_forms(raw: bytes, shown: bytes) -> None:
    assert component(raw).name == shown


def test_a_file_beside_a_folder_has_its_own_form() -> None:
    assert beside_folder(b"data").name == b"%%+data"
    assert unescape(b"%%+data") == b"data"


def test_a_long_name_keeps_its_end_and_gets_a_hash() -> None:
    raw = b"x" * 300 + b".tar.gz"
    name = component(raw).name
    assert len(name) == MAX_NAME_BYTES
    assert name.startswith(b"%%=")
    assert name.endswith(b"x.tar.gz")
    assert name != component(b"y" + raw).name


def test_a_long_name_is_not_cut_within_a_character() -> None:
    for padding in range(8):
        component(b"a" * padding + "é€😀".encode() * 60).name.decode()


def test_a_long_name_is_not_cut_within_an_escape() -> None:
    for padding in range(4):
        tail = component(b"/" * 200 + b"x" * padding).name.partition(b"-")[2]
        assert tail.startswith(b"%2F")

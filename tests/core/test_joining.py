"""What two origins may have in common, and what stays a mirror's own."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.joining import PRIMARY, asked_of, claimed, common, joinable, owner
from rangefs.core.validators import compatible, is_weak
from rangefs.core.versions import Level, Stat, Version

TAGS = st.sampled_from(['"a"', '"b"', 'W/"a"', 'W/"b"'])
DATES = st.sampled_from(["Mon, 02 Jan 2017 03:04:05 GMT", "Tue, 03 Jan 2017 03:04:05 GMT"])


@st.composite
def versions(draw: st.DrawFn) -> Version:
    """As sources make them: validators fit their level."""
    level = draw(st.sampled_from(Level))
    validator = draw(
        {
            Level.NONE: st.just(""),
            Level.WEAK: TAGS | DATES,
            Level.DATE: DATES,
            Level.STRONG: TAGS.filter(lambda tag: not is_weak(tag)),
            Level.IMMUTABLE: st.sampled_from(["17", '"a"@1', '"a"@2', '"b"@1', 'W/"a"@1', "sha256:ff"]),
        }[level]
    )
    size = draw(st.sampled_from([None, 0, 10, 11]))
    return Version(draw(st.sampled_from([b"k", b"l"])), level, validator, size, draw(st.sampled_from(["", "gzip"])))


NUMBERS = st.integers(1, 12)


@given(versions(), versions(), NUMBERS)
def test_nothing_weaker_than_a_strong_tag_and_a_size_joins_the_primary_and_a_mirror(
    ours: Version, theirs: Version, number: int
) -> None:
    shown = claimed(theirs, number)
    if shown is None or not joinable(ours, shown):
        return
    assert min(ours.level, theirs.level) >= Level.STRONG
    for version in (ours, theirs):
        assert version.size is not None
        assert '"' in version.validator
        assert not is_weak(version.validator)
    assert (ours.size, ours.encoding, ours.key) == (theirs.size, theirs.encoding, theirs.key)
    assert ours.validator.partition("@")[0] == theirs.validator.partition("@")[0]


@given(versions(), versions(), NUMBERS, NUMBERS)
def test_two_mirrors_are_joined_under_the_same_rule(one: Version, other: Version, here: int, there: int) -> None:
    first, second = claimed(one, here), claimed(other, there)
    if first is None or second is None or not joinable(first, second):
        return
    assert (common(one) == common(other) is not None) or (here == there and one.validator == other.validator)


@given(versions(), NUMBERS)
def test_what_is_a_mirrors_own_is_asked_of_it_alone_and_as_it_spelled_it(version: Version, number: int) -> None:
    shown = claimed(version, number)
    if shown is None:
        assert version.level is Level.NONE
        return
    asked = asked_of(shown, number)
    assert asked is not None
    assert asked.validator == (version.validator if owner(shown) == number else shown.validator)
    if owner(shown) is None:
        assert common(version) == shown
        assert asked_of(shown, PRIMARY) == asked_of(shown, number + 1) == shown
    else:
        assert owner(shown) == number
        assert not shown.level.durable
        assert asked_of(shown, PRIMARY) is asked_of(shown, number + 1) is None
        assert compatible(asked, Stat(version, None)) or version.level is Level.IMMUTABLE


@given(versions(), versions(), NUMBERS)
def test_a_mirrors_own_version_never_passes_for_another_origins_by_its_tag(
    ours: Version, theirs: Version, number: int
) -> None:
    shown = claimed(theirs, number)
    if shown is None or owner(shown) is None or not ours.validator.endswith('"'):
        return
    assert not compatible(ours, Stat(shown, None)) or ours.level is Level.NONE
    assert not compatible(shown, Stat(ours, None))


@given(versions())
def test_a_version_of_the_primarys_goes_to_mirrors_only_as_its_strong_tag(version: Version) -> None:
    assert asked_of(version, PRIMARY) == version
    asked = asked_of(version, 1)
    assert asked == common(version)
    assert asked is None or asked == replace(version, level=Level.STRONG, validator=version.validator.partition("@")[0])

"""Log lines that repeat: against a model that remembers everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rangefs.core.repeats import MOST, Repeats

EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 50)), max_size=60)


@given(EVENTS)
def test_each_is_said_at_once_then_once_in_a_while_and_none_is_uncounted(events: list[tuple[str, float]]) -> None:
    repeats = Repeats(every_s=60.0)
    now, said_at, left_out = 0.0, {}, dict.fromkeys("abc", 0)
    for what, pause_s in events:
        now += pause_s
        due = what not in said_at or now - said_at[what] >= 60.0
        unsaid = repeats.unsaid(what, now)
        assert (unsaid is not None) == due
        if unsaid is None:
            left_out[what] += 1
        else:
            assert unsaid == left_out[what]
            said_at[what], left_out[what] = now, 0


def test_what_is_remembered_is_bounded() -> None:
    repeats = Repeats()
    for number in range(2 * MOST):
        assert repeats.unsaid(number, 0.0) == 0
    assert len(repeats._said) == MOST

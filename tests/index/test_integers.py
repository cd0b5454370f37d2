from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.index.integers import splitmix64, stream_key

MASK = 2**64 - 1


def slow_splitmix64(key: int, count: int) -> list[int]:
    """The generator in Python's own whole numbers, as its authors write it down."""
    found, state = [], key
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        mixed = state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        found.append(mixed ^ (mixed >> 31))
    return found


def test_the_published_numbers_come_out() -> None:
    assert splitmix64(1234567, 5).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(st.integers(0, MASK), st.integers(0, 20))
def test_numbers_equal_those_of_unbounded_integers(key: int, count: int) -> None:
    assert splitmix64(key, count).tolist() == slow_splitmix64(key, count)


def test_keys_of_streams_never_change() -> None:
    assert stream_key(0, "conv1.weight:rows") == 14616005646130677157
    assert stream_key(1, "conv1.weight:rows") == 5739989063318195358
    assert stream_key(0, "conv1.weight:columns") == 621902161475589916

"""Sizes in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.model.sizes import size_in_words


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (None, "?"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (5 << 20, "5.0 MiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_a_size_is_said_in_the_unit_a_person_would_choose(n: int | None, words: str) -> None:
    assert size_in_words(n) == words


@given(st.integers(0, 10**15))
def test_words_stay_short(n: int) -> None:
    assert len(size_in_words(n)) <= 9

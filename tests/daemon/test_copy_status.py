"""Ages in words."""

from __future__ import annotations

import pytest

from csproxy.daemon.copy_status import age_in_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7260, "2 h 1 min"), (200_000, "2 d 7 h")],
)
def test_an_age_is_told_in_the_units_that_matter(seconds: float, words: str) -> None:
    assert age_in_words(seconds) == words

"""Lists of partitions on the command line."""

from __future__ import annotations

import pytest

from flows.partitions import listed


@pytest.mark.parametrize(("text", "parts"), [("0", (0,)), ("0-3", (0, 1, 2, 3)), ("5,0-1", (0, 1, 5)), ("2,1-2", (1, 2))])
def test_ranges_and_single_ones_in_any_order(text: str, parts: tuple[int, ...]) -> None:
    assert listed(text, 6) == parts


@pytest.mark.parametrize("text", ["", "x", "6", "-1", "3-1", "1-", "1,,2", "0-6"])
def test_what_is_no_list_below_the_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected from 0 to 5|invalid literal"):
        listed(text, 6)

"""One measured figure: its value, its goal, how far runs differed, and what it stands beside."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

Sense = Literal["at most", "at least", "under", "over"]
SENSES: tuple[str, ...] = get_args(Sense)
DIGITS = 4


@dataclass(frozen=True)
class Figure:
    """What `spiketape bench` prints of one name.

    `value` in `unit`, the median of the runs; `goal` in words ("over 1500000"), None where there is none; `met`: whether `value`
    reaches it, None where it has no goal; `spread`: largest less smallest run over the median; `peer` what was run beside it,
    `peer_value` its figure, `ratio` how many times better than the peer; both None where the note says why.
    """

    value: float
    unit: str
    goal: str | None
    met: bool | None
    spread: float
    peer: str | None
    peer_value: float | None
    ratio: float | None
    note: str

    def as_dict(self) -> dict[str, Any]:
        """The figure as JSON holds it."""
        return asdict(self)


def figure(
    runs: Sequence[float],
    unit: str,
    sense: Sense,
    goal: float,
    note: str,
    peer: str | None = None,
    peer_value: float | None = None,
) -> Figure:
    """The figure of several runs. `sense` is how value and goal compare; it also says whether more or less is better."""
    value = statistics.median(runs)
    met = {"at most": value <= goal, "at least": value >= goal, "under": value < goal, "over": value > goal}[sense]
    ratio = None
    if peer_value and value:
        ratio = peer_value / value if sense in ("at most", "under") else value / peer_value
    return Figure(
        value=rounded(value),
        unit=unit,
        goal=f"{sense} {goal:g}" if goal < 1e6 else f"{sense} {goal:,.0f}",
        met=met,
        spread=rounded(spread_of(runs)),
        peer=peer,
        peer_value=None if peer_value is None else rounded(peer_value),
        ratio=None if ratio is None else rounded(ratio),
        note=note,
    )


def spread_of(runs: Sequence[float]) -> float:
    """Largest less smallest over the size of the median; 0 where the median is 0."""
    middle = abs(statistics.median(runs))
    return (max(runs) - min(runs)) / middle if middle else 0.0


def rounded(value: float) -> float:
    """A number with DIGITS significant digits, whole where it is large."""
    return round(value) if abs(value) >= 10**DIGITS else float(f"{value:.{DIGITS}g}")

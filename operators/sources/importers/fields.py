"""A delimited line's layout, the reading of a block by it, and the words in which an unreadable line is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from operators.sources.importers import kernels as k
from operators.sources.importers.text import Block
from operators.sources.tape.merge import ImportReport
from schemas.ticks import TICK_V1, Ints, Ticks

_WORDS: Final = {
    k.NOT_A_NUMBER: "not a number",
    k.TOO_FINE: "finer than the instrument's fixed point",
    k.TOO_LARGE: "too large for 64 bits in fixed point",
    k.NOT_HEX: "not a hexadecimal number of 32 bits",
    k.NOT_A_TIME: "not a date and time",
    k.NOT_A_LETTER: "more than one character where an exchange letter is expected",
}


@dataclass(frozen=True, slots=True)
class Layout:
    """Fields of a line in order: `(name, kind, scale)`; kinds in kernels.py. `delimiter`: one ASCII character."""

    fields: tuple[tuple[str, int, int], ...]
    delimiter: str = ","
    kinds: Ints = field(init=False, repr=False, compare=False)
    scales: Ints = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kinds", np.array([f[1] for f in self.fields], np.int64))
        object.__setattr__(self, "scales", np.array([f[2] for f in self.fields], np.int64))


@dataclass(frozen=True, slots=True)
class Reading:
    """A block read by a layout. `values` int64 (n, F); `status`, `zoned` uint8 (n,): see kernels.read_lines."""

    block: Block
    layout: Layout
    values: Ints
    zoned: npt.NDArray[np.uint8]
    status: npt.NDArray[np.uint8]
    wrong: npt.NDArray[np.uint8]

    def column(self, name: str) -> Ints:
        """A field's values, int64 (n,)."""
        return self.values[:, [f[0] for f in self.layout.fields].index(name)]

    def lines(self) -> Ints:
        """The number of each line in its file, from 1."""
        return self.block.first + np.arange(self.block.size, dtype=np.int64)

    def refuse_unreadable(self, report: ImportReport) -> npt.NDArray[np.bool_]:
        """Tells the report of every line that cannot be read; True for those that can."""
        good: npt.NDArray[np.bool_] = self.status == k.OK
        for i in np.flatnonzero(~good):
            report.refuse(self.block.file, self.block.first + int(i), self.reason(int(i)), self.block.text(int(i)))
        return good

    def reason(self, i: int) -> str:
        """Why line i of the block cannot be read."""
        if self.status[i] == k.FIELD_COUNT:
            return f"it has not the {len(self.layout.fields)} fields expected"
        name = self.layout.fields[self.wrong[i] - 1][0]
        return f"{name} is {_WORDS[int(self.status[i])]}"


def read_block(block: Block, layout: Layout) -> Reading:
    """Reads every line of a block; nothing is refused yet."""
    n = block.size
    values = np.empty((n, len(layout.fields)), np.int64)
    zoned, status, wrong = (np.empty(n, np.uint8) for _ in range(3))
    k.read_lines(block.data, block.starts, block.ends, ord(layout.delimiter), layout.kinds, layout.scales, values, zoned, status, wrong)
    return Reading(block, layout, values, zoned, status, wrong)


def refuse_where(bad: npt.NDArray[np.bool_], block: Block, report: ImportReport, reason: str) -> None:
    """Refuses the lines of a block at which `bad` (n,) holds."""
    for i in np.flatnonzero(bad):
        report.refuse(block.file, block.first + int(i), reason, block.text(int(i)))


def ticks_of(n: int, kind: int) -> Ticks:
    """n zeroed ticks of one kind."""
    ticks = np.zeros(n, TICK_V1)
    ticks["kind"] = kind
    return ticks

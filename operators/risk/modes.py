"""Modes of an account and which may follow which.

| from \\ to | normal | paused | reduced | emergency |
| --- | --- | --- | --- | --- |
| normal | - | yes | yes | yes |
| paused | yes | - | yes | yes |
| reduced | yes | yes | - | yes |
| emergency | no | yes | no | - |

normal: everything. paused: no entries; positions, stops, exits and cancels go on. reduced: no entries, positions are left one
after the other. emergency: every order is cancelled, every position left at the market at once, nothing new. Out of an
emergency only a person leads, by way of paused. A change to the present mode is none.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from schemas.errors import RefusedError


class Mode(IntEnum):
    NORMAL = 0
    PAUSED = 1
    REDUCED = 2
    EMERGENCY = 3


MAY_FOLLOW: Final = {
    Mode.NORMAL: frozenset(Mode),
    Mode.PAUSED: frozenset(Mode),
    Mode.REDUCED: frozenset(Mode),
    Mode.EMERGENCY: frozenset({Mode.EMERGENCY, Mode.PAUSED}),
}


def next_mode(mode: Mode, wanted: Mode) -> Mode:
    """`wanted` where it may follow `mode`; RefusedError naming what may."""
    if wanted in MAY_FOLLOW[mode]:
        return wanted
    allowed = ", ".join(m.name.lower() for m in sorted(MAY_FOLLOW[mode] - {mode}))
    msg = f"an account in mode {mode.name.lower()} cannot become {wanted.name.lower()}; from there it may become {allowed}"
    raise RefusedError(msg)

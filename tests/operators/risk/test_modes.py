"""The 4 x 4 table of modes."""

from __future__ import annotations

import pytest

from operators.risk import Mode, next_mode
from schemas.errors import RefusedError

N, P, R, E = Mode
TABLE = {  # from: what may follow, the mode itself included
    N: {N, P, R, E},
    P: {N, P, R, E},
    R: {N, P, R, E},
    E: {P, E},
}


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("wanted", list(Mode))
def test_transition(mode, wanted):
    if wanted in TABLE[mode]:
        assert next_mode(mode, wanted) is wanted
    else:
        with pytest.raises(RefusedError, match=r"mode emergency cannot become \w+; from there it may become paused"):
            next_mode(mode, wanted)

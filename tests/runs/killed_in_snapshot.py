"""A replay that is killed between the lake's commit and the recovery point: KILLED_AT=n python -m tests.runs.killed_in_snapshot replay ...

The n-th snapshot of the sink of rows commits to the lake, as always, and the process is gone before the engine could write the epoch down.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from flows.cli import main
from operators.sinks.operator import RowsPart

snapshot = RowsPart.snapshot
left = int(os.environ["KILLED_AT"])


def last(self: RowsPart, *given: Any) -> bytes:
    global left
    state = snapshot(self, *given)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return state


if __name__ == "__main__":
    RowsPart.snapshot = last  # type: ignore[method-assign]
    main()

"""The one lift: how a pure stage becomes a Bytewax step."""

from __future__ import annotations

from typing import Any

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.timeline.logic import Lifted, StageLogic
from operators.timeline.seal import sealed, unsealed

RETAIN = False


class _Step(StatefulBatchLogic[Any, Any, Any]):
    """Bytewax does not tell a logic its key: this one waits for the first value, or for a snapshot, which do."""

    def __init__(self, lifted: Lifted, resume: bytes | None) -> None:
        self._lifted = lifted
        self._logic: StageLogic | None = None
        if resume is not None:
            snapshot = unsealed(lifted.step_id, resume)
            self._logic = StageLogic(lifted, snapshot["key"])
            self._logic.restore(snapshot)

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        if self._logic is None:
            self._logic = StageLogic(self._lifted, self._lifted.key_of(values[0]))
        return self._logic.on_batch(values), RETAIN

    def on_notify(self) -> tuple[list[Any], bool]:
        """Never due: event time only."""
        return [], RETAIN

    def on_eof(self) -> tuple[list[Any], bool]:
        """Nothing: a drain closes no slice; the end of a tape has sent a final mark."""
        return [], RETAIN

    def notify_at(self) -> None:
        """No wall-clock timers."""
        return

    def snapshot(self) -> bytes:
        assert self._logic is not None
        return sealed(self._logic.snapshot())


def lift(step_id: str, up: KeyedStream[Any], lifted: Lifted) -> KeyedStream[Any]:
    """Adds a stage to a flow as one stateful step."""
    return op.stateful_batch(step_id, up, lambda resume: _Step(lifted, resume))

"""The one lift: how a pure stage becomes a Bytewax step.

The values of a keyed stream are pieces addressed to a key. A `Joint` says what a stage's inputs are and how their pieces are cut
and put together; the logic here buffers, aligns, steps the stage and keeps its state for the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import bytewax.operators as op
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators.timeline.aligner import Aligner
from operators.timeline.control import Meters
from operators.timeline.stage import Stage
from operators.timeline.state import copied, migrated

RETAIN = False


class Joint(Protocol):
    """A stage's place in the flow, for one key."""

    @property
    def stage(self) -> Stage[Any, Any]:
        """The stage of this key."""
        ...

    def aligner(self) -> Aligner[Any]:
        """A new aligner over the static list of this stage's inputs."""
        ...

    def feed(self, aligner: Aligner[Any], value: Any) -> None:
        """Puts one arriving value: a piece, a mark, or a piece that is its own mark."""
        ...

    def joined(self, lo: int, hi: int, pieces: dict[int, list[Any]], /) -> Iterable[Any]:
        """The stage's inputs for [lo, hi), one or more in order, from the aligned pieces."""
        ...

    def items(self, x: Any) -> int:
        """How many items an input holds, for the meter."""
        ...

    def emitted(self, out: Any) -> list[Any]:
        """What goes downstream for one output."""
        ...


@dataclass(frozen=True)
class Lifted:
    """What a step needs to build its logic: the key that a value is for, the joint of a key, the meters."""

    step_id: str
    key_of: Callable[[Any], str]
    joint_of: Callable[[str], Joint]
    meters: Meters


class StageLogic:
    """Steps one stage for one key, without Bytewax. A snapshot is `{"version", "key", "state", "aligner"}`, copies all through."""

    def __init__(self, lifted: Lifted, key: str) -> None:
        self._step_id = lifted.step_id
        self._key = key
        self._meter = lifted.meters.new(lifted.step_id)
        self._joint = lifted.joint_of(key)
        self._aligner = self._joint.aligner()
        self._state = self._joint.stage.start()

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Puts a snapshot of this key back, migrated to this code's state version."""
        stage = self._joint.stage
        self._state = migrated(self._step_id, snapshot["state"], snapshot["version"], stage.version, stage.migrations)
        self._aligner.restore(snapshot["aligner"])

    def on_batch(self, values: list[Any]) -> list[Any]:
        """Takes everything that arrived for the key since the last activation, returns what goes downstream."""
        joint = self._joint
        out: list[Any] = []
        for value in values:
            joint.feed(self._aligner, value)
            ready = self._aligner.ready()
            if ready is None:
                continue
            lo, hi, pieces = ready
            for x in joint.joined(lo, hi, pieces):
                try:
                    with self._meter.measure(joint.items(x)):
                        self._state, y = joint.stage.step(self._state, x)
                except Exception as e:
                    e.add_note(f"in step {self._step_id!r}, key {self._key!r}, slices [{lo}, {hi})")
                    raise
                out.extend(joint.emitted(y))
        return out

    def snapshot(self) -> dict[str, Any]:
        """A copy, because it is pickled later, in another operator."""
        return {
            "version": self._joint.stage.version,
            "key": self._key,
            "state": copied(self._state),
            "aligner": copied(self._aligner.snapshot()),
        }


class _Step(StatefulBatchLogic[Any, Any, Any]):
    """Bytewax does not tell a logic its key: this one waits for the first value, or for a snapshot, which do."""

    def __init__(self, lifted: Lifted, resume: dict[str, Any] | None) -> None:
        self._lifted = lifted
        self._logic: StageLogic | None = None
        if resume is not None:
            self._logic = StageLogic(lifted, resume["key"])
            self._logic.restore(resume)

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

    def snapshot(self) -> Any:
        assert self._logic is not None
        return self._logic.snapshot()


def lift(step_id: str, up: KeyedStream[Any], lifted: Lifted) -> KeyedStream[Any]:
    """Adds a stage to a flow as one stateful step."""
    return op.stateful_batch(step_id, up, lambda resume: _Step(lifted, resume))

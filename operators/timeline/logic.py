"""One stage stepped for one key, without Bytewax: what arrives is buffered and aligned, the stage takes what is complete.

A `Joint` says what a stage's inputs are and how their pieces are cut and put together. The lift puts a `StageLogic` behind a
Bytewax step; flows/offline.py steps the same logic by plain calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from operators.timeline.aligner import Aligner
from operators.timeline.control import Meters
from operators.timeline.stage import Stage, State
from operators.timeline.state import copied, migrated


class Joint(Protocol):
    """A stage's place in the flow, for one key."""

    @property
    def stage(self) -> Stage[Any, Any]:
        """The stage of this key."""
        ...

    def aligner(self) -> Aligner[Any]:
        """A new aligner over the static list of this stage's inputs."""
        ...

    def feed(self, aligner: Aligner[Any], value: Any) -> Any:
        """Puts one arriving value: a piece, a mark, or a piece that is its own mark.

        Returns an input that the stage takes at once, because it is aligned with nothing (a turn of another process, a control
        message), or None: what has become complete by the value then is the stage's next input.
        """
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
    logics: dict[str, StageLogic] = field(default_factory=dict)
    """The logics by key, for a driver that reads a final state after the run."""


class StageLogic:
    """Steps one stage for one key. A snapshot is `{"version", "key", "state", "aligner"}`, copies all through."""

    def __init__(self, lifted: Lifted, key: str) -> None:
        self._step_id = lifted.step_id
        self._key = key
        self._meter = lifted.meters.new(lifted.step_id)
        self._joint = lifted.joint_of(key)
        self._aligner = self._joint.aligner()
        self._state = self._joint.stage.start()
        lifted.logics[key] = self

    @property
    def state(self) -> State:
        """The stage's state after what has arrived so far. Not to be changed."""
        return self._state

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
            now = joint.feed(self._aligner, value)
            if now is not None:
                self._step(now, None, out)
                continue
            ready = self._aligner.ready()
            if ready is None:
                continue
            lo, hi, pieces = ready
            for x in joint.joined(lo, hi, pieces):
                self._step(x, (lo, hi), out)
        return out

    def _step(self, x: Any, slices: tuple[int, int] | None, out: list[Any]) -> None:
        """Steps the stage; `slices`: those of the range that the input belongs to, None where it was taken at once."""
        joint, meter = self._joint, self._meter
        meter.items += joint.items(x)
        began_s = time.thread_time()
        try:
            self._state, y = joint.stage.step(self._state, x)
        except Exception as e:
            where = f"at a {type(x).__name__}" if slices is None else f"slices [{slices[0]}, {slices[1]})"
            e.add_note(f"in step {self._step_id!r}, key {self._key!r}, {where}")
            raise
        meter.cpu_s += time.thread_time() - began_s
        out.extend(joint.emitted(y))

    def snapshot(self) -> dict[str, Any]:
        """A copy, because it is pickled later, in another operator."""
        return {
            "version": self._joint.stage.version,
            "key": self._key,
            "state": copied(self._state),
            "aligner": copied(self._aligner.snapshot()),
        }

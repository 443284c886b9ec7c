"""A source's snapshot by partition, as plain data: what a rescale splits between processes and puts together again.

    {"version": 1, "topic": "ticks", "stream": 1, "partitions": {"0": {"offset": 512, ...}, "1": {...}}}

Each partition's entry stands for itself, so a process that takes partitions over goes on exactly where their old owner was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.errors import StateMismatchError

POSITION_VERSION: Final = 1


def position(topic: str, stream_version: int, partitions: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The snapshot of a source."""
    entries = {str(p): dict(state) for p, state in sorted(partitions.items())}
    return {"version": POSITION_VERSION, "topic": topic, "stream": stream_version, "partitions": entries}


def partitions_in(snapshot: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """The entries of a snapshot by partition. StateMismatchError where it is of another version."""
    if snapshot.get("version") != POSITION_VERSION:
        msg = f"a Kafka source's position of version {snapshot.get('version')!r}; this code knows {POSITION_VERSION}: run the newer release"
        raise StateMismatchError(msg)
    return {int(p): state for p, state in snapshot["partitions"].items()}


def fitting(
    step: str, snapshot: Mapping[str, Any], topic: str, stream_version: int, partitions: Sequence[int]
) -> dict[int, dict[str, Any]]:
    """The entries of a snapshot that a source of `partitions` goes on from. StateMismatchError where it does not fit."""
    held = partitions_in(snapshot)
    if (snapshot["topic"], snapshot["stream"]) != (topic, stream_version):
        held_is = f"{snapshot['topic']} version {snapshot['stream']}"
        msg = f"step {step!r}: the store holds a position in {held_is}, this flow reads {topic} version {stream_version}"
        raise StateMismatchError(msg)
    if sorted(held) != sorted(partitions):
        msg = (
            f"step {step!r}: the store knows where partitions {sorted(held)} of {topic} were left, this flow reads {sorted(partitions)}; "
            "move partitions between processes with the rescale command, which moves their state along"
        )
        raise StateMismatchError(msg)
    return held


def split(snapshot: Mapping[str, Any], owners: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """One snapshot for each list of partitions in `owners`. StateMismatchError where these are not just the snapshot's partitions."""
    held = partitions_in(snapshot)
    if sorted(p for owned in owners for p in owned) != sorted(held):
        msg = f"partitions {sorted(held)} cannot be split into {[list(o) for o in owners]}: each must go to exactly one process"
        raise StateMismatchError(msg)
    return [position(snapshot["topic"], snapshot["stream"], {p: held[p] for p in owned}) for owned in owners]


def merged(snapshots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One snapshot of several processes'. StateMismatchError where two hold the same partition, or they are not of one stream."""
    streams = {(s["topic"], s["stream"]) for s in snapshots}
    if len(streams) != 1:
        msg = f"only positions in one stream can be merged, given {sorted(streams)}"
        raise StateMismatchError(msg)
    all_held: dict[int, dict[str, Any]] = {}
    for snapshot in snapshots:
        held = partitions_in(snapshot)
        twice = sorted(held.keys() & all_held.keys())
        if twice:
            msg = f"partitions {twice} are held by two processes: their states cannot be merged"
            raise StateMismatchError(msg)
        all_held |= held
    ((topic, stream),) = streams
    return position(topic, stream, all_held)

"""Rescaling: the state of `signals` processes that have ended, split and merged by tick partition into new run folders.

What belongs to which tick partition:

- the source of ticks keeps its state by partition (operators/sources/kafka/position.py), with that of the leaders' ticks which it reads for
  the followers there;
- a stage's key is a shard, `s07`, and shard s is fed by partition s % P alone;
- a sink's part is named by its partition, `0003`;
- what is gated of the leaders, on behalf of the followers in this partition, is named `p3.s45`; a process has that step only where it has
  followers, and these the source knows from its begin, before the first leader's tick has come.

Whatever else a store holds belongs to no partition, and such a flow is not rescaled. Each state comes from its own resume point:
partitions share nothing, so those of different folders need not agree.

All or nothing: new folders are made beside their place, `NAME.part`; the file `rescaled.json` in the first old folder is the commit; then
the new ones get their names and the old ones lose their `identity.json`, without which nothing starts in them. Cut short before the
commit, nothing has happened; after it, the same command finishes what is left.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flows.folder_copy import synced
from flows.partitions import listed
from flows.recovery_store import Store, StoredState, read_store, write_store
from operators.sinks.delta import failure
from operators.sinks.runfolder import RunFolder, read_json, write_json
from operators.sources.kafka.position import merged, partitions_in, split
from schemas.durable import PART
from schemas.errors import RefusedError, SavepointError, StateMismatchError, UsageError

MOST_PARTITIONS: Final = 1 << 16
RESCALED: Final = "rescaled.json"
TOPIC: Final = "ticks"
_SHARD: Final = re.compile(r"s(\d+)")
_PART: Final = re.compile(r"(\d+)|p(\d+)\.s\d+")
LEADERS: Final = ".leaders"
"""How the step of the leaders' gates ends."""


@dataclass(frozen=True)
class Plan:
    """Which folders' state goes into which new folders, with the partitions of each."""

    sources: tuple[Path, ...]
    targets: Mapping[Path, tuple[int, ...]]

    def as_json(self) -> dict[str, Any]:
        return {
            "from": [str(p.resolve()) for p in self.sources],
            "to": {str(p.resolve()): list(parts) for p, parts in self.targets.items()},
        }


@dataclass(frozen=True)
class _Source:
    path: Path
    identity: dict[str, Any]
    settings: dict[str, Any]
    store: Store
    partitions: frozenset[int]


def parsed_target(text: str) -> tuple[Path, tuple[int, ...]]:
    """`NEW=0-1,5` as a folder and its partitions, ascending. Raises UsageError."""
    name, _, parts = text.rpartition("=")
    try:
        if not name:
            raise ValueError
        return Path(name), listed(parts, MOST_PARTITIONS)
    except ValueError as e:
        msg = f"--to {text!r}: expected a new run folder and its partitions, as in runs/signals-a=0-1,5"
        raise UsageError(msg) from e


def rescale(plan: Plan) -> bool:
    """Carries a plan out.

    Returns False where the same plan was committed before and only what was left of it was done. Raises UsageError for gaps and
    overlaps, RefusedError for folders in use or of different jobs, StateMismatchError for different steps or versions, SavepointError.
    """
    _check_distinct(plan)
    with ExitStack() as held:
        for path in plan.sources:
            if not path.is_dir():
                msg = f"--from {path}: no such run folder"
                raise UsageError(msg)
            held.enter_context(RunFolder(path).locked())
        if _committed(plan):
            _finish(plan)
            return False
        sources = [_source(path) for path in plan.sources]
        _check_fit(sources)
        _check_cover(plan, sources)
        states = _by_partition(sources, int(sources[0].settings["partitions"]))
        try:
            for target, parts in plan.targets.items():
                _build(target, parts, sources, states)
            write_json(plan.sources[0] / RESCALED, plan.as_json())
        except OSError as e:
            raise failure(plan.sources[0], "written", e) from e
        _finish(plan)
    return True


def _check_distinct(plan: Plan) -> None:
    paths = [p.resolve() for p in (*plan.sources, *plan.targets)]
    if not plan.sources or not plan.targets or len(set(paths)) < len(paths):
        msg = "expected at least one --from and one --to, each another folder"
        raise UsageError(msg)
    owner: dict[int, Path] = {}
    for target, parts in plan.targets.items():
        for p in parts:
            if p in owner:
                msg = f"partition {p} is given to both {owner[p]} and {target}; each goes into one folder"
                raise UsageError(msg)
            owner[p] = target


def _committed(plan: Plan) -> bool:
    """Whether this plan was committed before. Raises RefusedError where another one was."""
    for path in plan.sources:
        there = read_json(path / RESCALED)
        if there is not None and there != plan.as_json():
            msg = f"{path} was rescaled before, into {', '.join(there['to'])}; rescale those"
            raise RefusedError(msg)
    if read_json(plan.sources[0] / RESCALED) is not None:
        return True
    for target in plan.targets:
        if target.exists():
            msg = f"--to {target}: is there already; give a new folder"
            raise RefusedError(msg)
    return False


def _source(path: Path) -> _Source:
    identity, settings = read_json(path / "identity.json"), read_json(path / "settings.json")
    if identity is None or settings is None:
        msg = f"{path} holds no run; nothing to rescale"
        raise SavepointError(msg)
    store = read_store(path / "recovery")
    found = {p for state in store.states if _partition_of(state, int(settings["partitions"])) is None for p in _held(path, state)}
    if not found:
        msg = f"{path}: no source there has read {TOPIC}; only a `signals` process that has run can be rescaled"
        raise SavepointError(msg)
    return _Source(path, identity, settings, store, frozenset(found))


def _partition_of(state: StoredState, p_count: int) -> int | None:
    """The tick partition that a state's key names; None where it names none."""
    shard, part = _SHARD.fullmatch(state.key), _PART.fullmatch(state.key)
    if shard:
        return int(shard[1]) % p_count
    return int(part[1] or part[2]) if part else None


def _held(path: Path, state: StoredState) -> dict[int, dict[str, Any]]:
    """What the source of ticks says by partition. Raises SavepointError where the state is that of anything else."""
    value = state.value()
    if value.get("topic") != TOPIC or "partitions" not in value:
        msg = f"{path}: step {state.step!r}, key {state.key!r} belongs to no tick partition; only a `signals` process can be rescaled"
        raise SavepointError(msg)
    return partitions_in(value)


def _check_fit(sources: Sequence[_Source]) -> None:
    first = sources[0]
    for other in sources[1:]:
        one, two = first.store.steps, other.store.steps
        differ = sorted(set(one.items()) ^ set(two.items()))
        differ = [(step, v) for step, v in differ if not (step.endswith(LEADERS) and (step not in one or step not in two))]
        if differ:
            names = ", ".join(dict.fromkeys(f"{step} {version}" for step, version in differ))
            msg = f"{first.path} and {other.path} have different steps or state versions: {names}; run both with the same release first"
            raise StateMismatchError(msg)
        differ_in = [k for k in first.identity if first.identity[k] != other.identity.get(k)]
        if differ_in:
            msg = f"{first.path} and {other.path} hold different jobs: {', '.join(differ_in)}"
            raise RefusedError(msg)


def _check_cover(plan: Plan, sources: Sequence[_Source]) -> None:
    owner: dict[int, Path] = {}
    for source in sources:
        for p in sorted(source.partitions):
            if p in owner:
                msg = f"partition {p} is in both {owner[p]} and {source.path}: one of them is out of date"
                raise UsageError(msg)
            owner[p] = source.path
    wanted = {p for parts in plan.targets.values() for p in parts}
    lost, unknown = sorted(owner.keys() - wanted), sorted(wanted - owner.keys())
    if lost or unknown:
        told = [f"{lost} of the old folders would go nowhere"] if lost else []
        told += [f"{unknown} are in none of the old folders"] if unknown else []
        msg = f"partitions {' and '.join(told)}; the new folders must take exactly {sorted(owner)}"
        raise UsageError(msg)


def _by_partition(sources: Sequence[_Source], p_count: int) -> dict[int, list[StoredState]]:
    """Every state by tick partition; of a source's state, the piece of that partition. Raises SavepointError for what belongs to none."""
    out: dict[int, list[StoredState]] = {p: [] for s in sources for p in sorted(s.partitions)}
    for source in sources:
        for state in source.store.states:
            p = _partition_of(state, p_count)
            if p is None:
                held = _held(source.path, state)
                for q, piece in zip(held, split(state.value(), [[q] for q in held]), strict=True):
                    out[q].append(StoredState.of(state.step, state.key, piece))
            elif p in source.partitions:
                out[p].append(state)
            else:
                msg = f"{source.path}: step {state.step!r}, key {state.key!r} belongs to partition {p}, which its source does not read"
                raise SavepointError(msg)
    return out


def _build(target: Path, parts: Sequence[int], sources: Sequence[_Source], states: Mapping[int, Sequence[StoredState]]) -> None:
    """Makes a new run folder beside its place."""
    part = target.with_name(target.name + PART)
    if part.exists():
        shutil.rmtree(part)
    part.mkdir(parents=True)
    whole: dict[tuple[str, str], StoredState] = {}
    for p in parts:
        for state in states[p]:
            place = state.step, state.key
            if place in whole:
                state = StoredState.of(*place, merged([whole[place].value(), state.value()]))
            whole[place] = state
    p_count = int(sources[0].settings["partitions"])
    held = [_held(target, state) for state in whole.values() if _partition_of(state, p_count) is None]
    led = any(entry.get("leaders") for entries in held for entry in entries.values())
    steps = {step: v for s in sources for step, v in s.store.steps.items() if led or not step.endswith(LEADERS)}
    write_store(part / "recovery", steps, whole.values())
    write_json(part / "settings.json", sources[0].settings)
    write_json(part / "identity.json", sources[0].identity)
    synced(part)


def _finish(plan: Plan) -> None:
    """What follows the commit; may be done again."""
    try:
        for path in plan.sources:
            write_json(path / RESCALED, plan.as_json())
            (path / "identity.json").unlink(missing_ok=True)
        for target in plan.targets:
            part = target.with_name(target.name + PART)
            if part.exists():
                part.rename(target)
    except OSError as e:
        raise failure(plan.sources[0], "written", e) from e

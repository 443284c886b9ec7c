"""The state of drained processes split and merged by tick partition: what comes out is what one undisturbed process gives."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from bytewax.run import cli_main

import flows.rescale
from flows.recovery_store import StoredState, read_store, write_store
from flows.rescale import RESCALED, Plan, parsed_target, rescale
from operators.sinks.runfolder import Identity, RunFolder, write_json
from operators.sources.kafka.position import partitions_in, position
from operators.timeline.registry import opened
from operators.timeline.seal import sealed, unsealed
from schemas.errors import RefusedError, SavepointError, SpiketapeError, StateMismatchError, UsageError

P, S, LAST = 4, 12, 40
"""Tick partitions, shards, messages in each partition."""
STEPS = {"signals.ticks": 1, "signals.sum": 1, "signals.count": 1, "signals.out": 1}
IDENTITY = Identity("", "settings", "model", "code")


class Ticks(FixedPartitionedSource[tuple[str, int], bytes]):
    """Message n of partition p is for one of its shards; all partitions in turn up to `stop`. One part, state by partition."""

    def __init__(self, partitions: Sequence[int], stop: int) -> None:
        self.partitions, self.stop = partitions, stop

    def list_parts(self) -> list[str]:
        return ["ticks"]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> Any:
        offsets = dict.fromkeys(self.partitions, 0)
        if resume_state is not None:
            held = partitions_in(unsealed(step_id, resume_state))
            assert sorted(held) == sorted(self.partitions)
            offsets = {p: state["offset"] for p, state in held.items()}
        stop = self.stop

        class Part(StatefulSourcePartition[tuple[str, int], bytes]):
            def next_batch(self) -> list[tuple[str, int]]:
                due = [p for p, n in offsets.items() if n < stop]
                if not due:
                    raise StopIteration
                out = []
                for p in due:
                    n = offsets[p]
                    out.append((f"s{p + P * (n % (S // P)):02d}", 1000 * p + n))
                    offsets[p] += 1
                return out

            def snapshot(self) -> bytes:
                return sealed(position("ticks", 1, {p: {"offset": n} for p, n in offsets.items()}))

        return Part()


class Sum(StatefulBatchLogic[int, int, bytes]):
    """A chain over the values of a key: any value lost or doubled changes all that follow."""

    def __init__(self, resume: bytes | None) -> None:
        self.total = 0 if resume is None else unsealed("sum", resume)["total"]

    def on_batch(self, values: list[int]) -> tuple[list[int], bool]:
        out = []
        for v in values:
            self.total = (self.total * 31 + v) % 1_000_003
            out.append(self.total)
        return out, False

    def on_notify(self) -> tuple[list[int], bool]:
        return [], False

    def on_eof(self) -> tuple[list[int], bool]:
        return [], False

    def notify_at(self) -> None:
        return

    def snapshot(self) -> bytes:
        return sealed({"total": self.total})


class Out(FixedPartitionedSink[tuple[str, int], bytes]):
    """Appends `key value` to `out`; one part by tick partition, which counts what it wrote."""

    def __init__(self, partitions: Sequence[int], out: list[tuple[str, int]]) -> None:
        self.partitions, self.out = partitions, out

    def list_parts(self) -> list[str]:
        return [f"{p:04d}" for p in self.partitions]

    def part_fn(self, item_key: str) -> int:
        return list(self.partitions).index(int(item_key[1:]) % P)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> Any:
        written = 0 if resume_state is None else unsealed(step_id, resume_state)["written"]
        out = self.out

        class Part(StatefulSinkPartition[int, bytes]):
            def __init__(self) -> None:
                self.written = written

            def write_batch(self, values: list[int]) -> None:
                for v in values:
                    out.append((f"{for_part}/{self.written}", v))
                    self.written += 1

            def snapshot(self) -> bytes:
                return sealed({"written": self.written})

        return Part()


def run(folder: Path, partitions: Sequence[int], stop: int) -> list[tuple[str, int]]:
    """Runs the flow in a run folder until its source has read `stop` messages of each partition; what it wrote meanwhile."""
    place = RunFolder(folder)
    out: list[tuple[str, int]] = []
    with place.locked():
        place.decide(IDENTITY, fresh=False)
        write_json(place.settings_json, {"partitions": P, "shards": S})
        flow = Dataflow("signals")
        stream = op.input("ticks", flow, Ticks(partitions, stop))
        stream = op.stateful_batch("sum", stream, Sum)
        stream = op.stateful_batch("count", stream, Sum)
        op.output("out", stream, Out(partitions, out))
        recovery, _ = opened(place.recovery, {**STEPS, "signals.sum": 1, "signals.count": 1})
        cli_main(flow, epoch_interval=timedelta(0), recovery_config=recovery)
    return out


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What one process that is never stopped writes, by part and number."""
    return dict(run(tmp_path_factory.mktemp("rescale") / "one", range(P), LAST))


def plan(tmp_path: Path, sources: Sequence[str], **targets: Sequence[int]) -> Plan:
    return Plan(tuple(tmp_path / s for s in sources), {tmp_path / t: tuple(parts) for t, parts in targets.items()})


def test_one_becomes_two_and_two_one_and_nothing_is_lost_or_doubled(tmp_path: Path, undisturbed: dict[str, int]) -> None:
    written = run(tmp_path / "old", range(P), 10)
    assert rescale(plan(tmp_path, ["old"], a=[0, 3], b=[1, 2])) is True
    written += run(tmp_path / "a", [0, 3], 25)
    written += run(tmp_path / "b", [1, 2], 17)
    assert rescale(plan(tmp_path, ["a", "b"], whole=range(P))) is True
    written += run(tmp_path / "whole", range(P), LAST)
    assert len(written) == len(dict(written)) == P * LAST
    assert dict(written) == undisturbed


def test_the_new_folders_hold_their_partitions_state_and_nothing_else(tmp_path: Path) -> None:
    run(tmp_path / "old", range(P), 10)
    before = {(s.step, s.key): s.value() for s in read_store(tmp_path / "old" / "recovery").states}
    rescale(plan(tmp_path, ["old"], a=[0, 3], b=[1, 2]))
    for name, parts in (("a", [0, 3]), ("b", [1, 2])):
        store = read_store(tmp_path / name / "recovery")
        assert store.steps == STEPS
        after = {(s.step, s.key): s.value() for s in store.states}
        source = after.pop(("signals.ticks", "ticks"))
        assert source == position("ticks", 1, {p: {"offset": 10} for p in parts})
        assert {k for s, k in after if s == "signals.out"} == {f"{p:04d}" for p in parts}
        assert {int(k[1:]) % P for s, k in after if s == "signals.sum"} == set(parts)
        assert after.items() <= before.items()
        assert RunFolder(tmp_path / name).identity() == IDENTITY


def test_what_is_read_for_the_followers_in_a_partition_goes_with_it_and_their_step_only_there(tmp_path: Path) -> None:
    """Partition 1 follows leaders in 0 and 2, 3 follows one in 2; the new folder without followers lacks the step of the leaders' gates."""
    leading = {"signals.gate.leaders": 1}
    entries = {p: {"offset": 7, "leaders": led} for p, led in ((1, {"0": {"offset": 3}, "2": {"offset": 4}}), (3, {"2": {"offset": 5}}))}
    entries |= {p: {"offset": 7} for p in (0, 2)}
    states = [
        StoredState.of("signals.ticks", "kafka", position("ticks", 1, entries)),
        StoredState.of("signals.gate.leaders", "p1.s04", {"k": 1}),
        StoredState.of("signals.gate.leaders", "p3.s02", {"k": 2}),
    ]
    old = tmp_path / "old"
    write_store(old / "recovery", {**STEPS, **leading}, states)
    write_json(old / "identity.json", asdict(IDENTITY))
    write_json(old / "settings.json", {"partitions": P})
    rescale(plan(tmp_path, ["old"], a=[0, 2], b=[1], c=[3]))
    held = {name: {(s.step, s.key): s.value() for s in read_store(tmp_path / name / "recovery").states} for name in "abc"}
    assert held["a"] == {("signals.ticks", "kafka"): position("ticks", 1, {p: entries[p] for p in (0, 2)})}
    assert held["b"] == {("signals.ticks", "kafka"): position("ticks", 1, {1: entries[1]}), ("signals.gate.leaders", "p1.s04"): {"k": 1}}
    assert held["c"] == {("signals.ticks", "kafka"): position("ticks", 1, {3: entries[3]}), ("signals.gate.leaders", "p3.s02"): {"k": 2}}
    assert read_store(tmp_path / "a" / "recovery").steps == STEPS
    assert read_store(tmp_path / "b" / "recovery").steps == {**STEPS, **leading}
    rescale(plan(tmp_path, ["a", "b", "c"], whole=range(P)))
    store = read_store(tmp_path / "whole" / "recovery")
    assert store.steps == {**STEPS, **leading}
    assert sorted((s.step, s.key, str(s.value())) for s in store.states) == sorted((s.step, s.key, str(s.value())) for s in states)


def test_followers_whose_leaders_have_not_come_yet_keep_their_step(tmp_path: Path) -> None:
    steps = {**STEPS, "signals.gate.leaders": 1}
    entries = {p: {"offset": 7, "leaders": {"0": {"offset": 0}} if p == 1 else {}} for p in range(P)}
    write_store(tmp_path / "old" / "recovery", steps, [StoredState.of("signals.ticks", "kafka", position("ticks", 1, entries))])
    write_json(tmp_path / "old" / "identity.json", asdict(IDENTITY))
    write_json(tmp_path / "old" / "settings.json", {"partitions": P})
    rescale(plan(tmp_path, ["old"], a=[0, 2, 3], b=[1]))
    assert read_store(tmp_path / "a" / "recovery").steps == STEPS
    assert read_store(tmp_path / "b" / "recovery").steps == steps


def test_nothing_starts_in_an_old_folder_again(tmp_path: Path) -> None:
    run(tmp_path / "old", range(P), 10)
    rescale(plan(tmp_path, ["old"], a=[0, 1], b=[2, 3]))
    with pytest.raises(RefusedError, match="holds no run"):
        run(tmp_path / "old", range(P), LAST)
    assert json.loads((tmp_path / "old" / RESCALED).read_text())["to"].keys() == {str(tmp_path / "a"), str(tmp_path / "b")}
    with pytest.raises(RefusedError, match="was rescaled before"):
        rescale(plan(tmp_path, ["old"], c=[0, 1], d=[2, 3]))


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"a": [0, 1], "b": [3]}, r"\[2\] of the old folders would go nowhere"),
        ({"a": [0, 1, 2], "b": [2, 3]}, "partition 2 is given to both"),
        ({"a": [0, 1, 2, 3], "b": [4]}, r"\[4\] are in none of the old folders"),
    ],
    ids=["gap", "overlap", "unknown"],
)
def test_gaps_and_overlaps_are_refused_and_nothing_happens(tmp_path: Path, targets: dict[str, list[int]], words: str) -> None:
    run(tmp_path / "old", range(P), 5)
    with pytest.raises(UsageError, match=words):
        rescale(plan(tmp_path, ["old"], **targets))
    untouched(tmp_path)


def untouched(tmp_path: Path) -> None:
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".part")) == ["old"]
    assert RunFolder(tmp_path / "old").identity() == IDENTITY
    assert len(run(tmp_path / "old", range(P), 7)) > 0


def two_with(tmp_path: Path, change: Callable[[Path], None]) -> Plan:
    for name, parts in (("a", [0, 1]), ("b", [2, 3])):
        run(tmp_path / name, parts, 5)
    change(tmp_path / "b")
    return plan(tmp_path, ["a", "b"], whole=range(P))


def other_steps(folder: Path) -> None:
    (folder / "recovery" / "steps.json").write_text(json.dumps({**STEPS, "signals.sum": 2}))


def other_settings(folder: Path) -> None:
    write_json(folder / "identity.json", {"tape": "", "settings": "others", "model": "model", "code": "code"})


def same_partitions(folder: Path) -> None:
    store = read_store(folder / "recovery")
    for file in (folder / "recovery").iterdir():
        file.unlink()
    (folder / "recovery").rmdir()
    states = [s for s in store.states if s.step != "signals.ticks"]
    moved = StoredState.of("signals.ticks", "ticks", position("ticks", 1, {p: {"offset": 5} for p in (1, 2, 3)}))
    write_store(folder / "recovery", store.steps, [*states, moved])


def flipped_bit(folder: Path) -> None:
    with sqlite3.connect(folder / "recovery" / "part-0.sqlite3") as db:
        (stored,) = db.execute("SELECT ser_change FROM snaps WHERE step_id = 'signals.sum' LIMIT 1").fetchone()
        changed = stored[:-20] + bytes([stored[-20] ^ 1]) + stored[-19:]
        db.execute("UPDATE snaps SET ser_change = ? WHERE ser_change = ?", (changed, stored))


def account_state(folder: Path) -> None:
    store = read_store(folder / "recovery")
    for file in (folder / "recovery").iterdir():
        file.unlink()
    (folder / "recovery").rmdir()
    write_store(folder / "recovery", store.steps, [*store.states, StoredState.of("signals.sum", "main", {"total": 1})])


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (other_steps, StateMismatchError, "signals.sum [12]"),
        (other_settings, RefusedError, "different jobs: settings"),
        (same_partitions, UsageError, "partition 1 is in both"),
        (flipped_bit, SavepointError, "is damaged"),
        (account_state, SavepointError, "key 'main' belongs to no tick partition"),
    ],
)
def test_folders_that_do_not_go_together_are_refused(
    tmp_path: Path, change: Callable[[Path], None], error: type[SpiketapeError], words: str
) -> None:
    wanted = two_with(tmp_path, change)
    with pytest.raises(error, match=words):
        rescale(wanted)
    assert not (tmp_path / "whole").exists()
    assert not (tmp_path / "a" / RESCALED).exists()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "old", range(P), 5)
    with RunFolder(tmp_path / "old").locked(), pytest.raises(RefusedError, match="is in use"):
        rescale(plan(tmp_path, ["old"], a=[0, 1], b=[2, 3]))
    (tmp_path / "b").mkdir()
    with pytest.raises(RefusedError, match=r"b: is there already"):
        rescale(plan(tmp_path, ["old"], a=[0, 1], b=[2, 3]))


WRITES = 11
"""For each of two new folders a store and two files, the commit, its copy, the old identity, two renames."""


class Cut(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("moment", range(WRITES))
def test_cut_short_anywhere_it_has_happened_wholly_or_not_at_all_and_the_same_command_finishes_it(
    tmp_path: Path, undisturbed: dict[str, int], moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dies at the n-th of the writes and renames that the command makes."""
    written = run(tmp_path / "old", range(P), 10)
    wanted = plan(tmp_path, ["old"], a=[0, 1], b=[2, 3])
    left = [moment]

    def dying(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            return do(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(flows.rescale, "write_json", dying(write_json))
        patch.setattr(flows.rescale, "write_store", dying(write_store))
        patch.setattr(Path, "rename", dying(Path.rename))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        with pytest.raises(Cut):
            rescale(wanted)
    committed = (tmp_path / "old" / RESCALED).exists()
    assert committed or (not (tmp_path / "a").exists() and not (tmp_path / "b").exists())
    assert rescale(wanted) is not committed
    written += run(tmp_path / "a", [0, 1], LAST)
    written += run(tmp_path / "b", [2, 3], LAST)
    assert len(written) == P * LAST
    assert dict(written) == undisturbed


@pytest.mark.parametrize(("text", "parts"), [("x/new=0-1", (0, 1)), ("a=b=3", (3,)), ("n=5,0-2,2", (0, 1, 2, 5))])
def test_targets_are_read(text: str, parts: tuple[int, ...]) -> None:
    assert parsed_target(text) == (Path(text.rpartition("=")[0]), parts)


@pytest.mark.parametrize("text", ["new", "new=", "=0", "new=1-0", "new=x", "new=-1", "new=0-99999999", "new=0,,1"])
def test_a_wrong_target_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="expected a new run folder and its partitions"):
        parsed_target(text)

"""The record flow: the topic `ticks` of a deployment to a tape that `replay` reads back to the same hash.

    ticks --- recording (a file of each partition)  ...at the end:  merged in the tape's order, (ts_ns, symbol, seq), to a tape

While it runs, ticks are kept in the run folder `<tape>.recording`, where a recovery point says how far; killed at any moment, the same
command goes on from there. When the stream has ended, or the recording is told to stop, the tape is made of them by the tape's own writer,
which checks every tick, and the run folder is removed (with `fresh` also before). Messages that cannot be read stand in `poison.jsonl`
beside the ticks. A stream that a tape cannot hold (holes, a beginning that is deleted, times that go back or were refused) ends the
recording with the place.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import bytewax.operators as op
import numpy as np
from bytewax.dataflow import Dataflow

from flows.live.process import Ended, Process, Wired, run
from flows.live.ticks import tick_source
from operators.sinks import RunFolder
from operators.sinks.recording import POISON, Recording, RecordingSink
from operators.sources.kafka import Start, published
from operators.sources.kafka.position import POSITION_VERSION
from operators.sources.kafka.recording import RecordingStream
from operators.sources.tape import Manifest, TapeWriter, refuse_taken
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.errors import RefusedError
from schemas.instruments import InstrumentList
from schemas.recorded import ALWAYS_NS
from schemas.settings import Settings, load_settings
from schemas.ticks import Ticks, rows_at, rows_joined
from schemas.topics import TICKS

NAME = "record"
KEPT: Final = "ticks"
"""Folder of a run folder in which the ticks are kept until the tape is made."""
AT_ONCE: Final = 1 << 17
"""Ticks of a partition that are merged at once."""


@dataclass(frozen=True)
class Options:
    """What is recorded. `out`: the tape; `until_end`: only the whole stream makes a tape; `overwrite`: a tape that is there is replaced;
    `fresh`: what an earlier attempt kept is deleted; `on_rows` is told how many ticks were read so far."""

    out: Path
    until_end: bool = False
    overwrite: bool = False
    fresh: bool = False
    on_rows: Callable[[int], None] = lambda _rows: None


@dataclass
class Recorded:
    """The tape that was made, None where there is none: its manifest, and how many messages could not be read."""

    out: Path
    manifest: Manifest | None = None
    poison: int = 0
    ended: Ended = field(default_factory=lambda: Ended({}, None))


def wire(process: Process, options: Options, recorded: Recorded) -> Wired:
    """The flow between the topic `ticks` and the files of a recording, of which `settle` makes the tape and tells `recorded`."""
    settings, live = process.settings, process.live
    instruments = published(settings, process.drain, live)
    stream = RecordingStream(settings, instruments, live, options.on_rows)
    ticks = tick_source(process, stream, process.credit(), Start("earliest"))
    sink = RecordingSink(process.folder.path / KEPT, settings.partitions)
    flow = Dataflow(NAME)
    op.output("recording", op.input("ticks", flow, ticks), sink)

    def settle() -> bool:
        assert sink.recording is not None
        sink.recording.close()
        if ticks.finished or not options.until_end:
            recorded.manifest = made_tape(sink.recording, settings, instruments, options, whole=ticks.finished)
            recorded.poison = sink.recording.poison
        return True

    def summary() -> dict[str, Any]:
        made = recorded.manifest
        told = {} if made is None else {"rows": made.rows, "tape_hash": made.tape_hash}
        return {"tape": str(options.out), "poison": recorded.poison, **told}

    steps = {f"{NAME}.ticks": POSITION_VERSION, f"{NAME}.recording": RecordingSink.version}
    return Wired(flow, steps, lambda: ticks.finished, summary, settle)


def made_tape(recording: Recording, settings: Settings, instruments: InstrumentList, options: Options, *, whole: bool) -> Manifest:
    """Makes the tape of what was recorded: all of it, or (not `whole`) what all partitions have reached.

    Raises RefusedError where the tape is taken, TapeError where it cannot hold a tick.
    """
    about = {"deployment": settings.deployment, "topic": settings.kafka.topic(TICKS), "end": whole}
    offsets = {name: {str(p): o[i] for p, o in sorted(recording.offsets.items())} for i, name in enumerate(("from", "before"))}
    before_ns = min(recording.reached_ns.values())
    parts = [recording.ticks(p) for p in range(settings.partitions)]
    if before_ns != ALWAYS_NS:
        parts = [part[: int(np.searchsorted(part["ts_ns"], before_ns))] for part in parts]
    origin = {"recorded": {**about, **offsets}}
    with TapeWriter(options.out, instruments, settings.partitions, settings.shards, origin, options.overwrite) as tape:
        _merge(parts, tape)
        shutil.copyfile(recording.folder / POISON, tape.folder / POISON)
        return tape.close()


def _merge(parts: list[Ticks], tape: TapeWriter) -> None:
    """Writes the ticks of all partitions, each in the order of time, in the tape's order."""
    at, most = [0] * len(parts), AT_ONCE
    while any(a < part.size for a, part in zip(at, parts, strict=True)):
        heads = [part[a : a + most] for a, part in zip(at, parts, strict=True)]
        bounds = [int(h["ts_ns"][-1]) for h, a, part in zip(heads, at, parts, strict=True) if a + h.size < part.size]
        taken = [h[: int(np.searchsorted(h["ts_ns"], min(bounds)))] if bounds else h for h in heads]
        if not any(t.size for t in taken):
            most *= 2  # so many ticks of one time
            continue
        ticks = rows_joined([t for t in taken if t.size])
        tape.append(rows_at(ticks, np.lexsort((ticks["seq"], ticks["symbol"], ticks["ts_ns"]))))
        at = [a + t.size for a, t in zip(at, taken, strict=True)]


def run_folder(out: Path) -> RunFolder:
    """Where a tape's ticks are kept while it is recorded."""
    return RunFolder(out.with_name(f"{out.name}.recording"))


def record(
    settings: Settings,
    options: Options,
    drain: Drain | None = None,
    live: Live | None = None,
    epoch_s: float = 1.0,
) -> Recorded:
    """Records from the earliest message, or from where an earlier attempt was, to the end of the stream or until a drain is asked.

    With `until_end` only the whole stream makes a tape; a drain leaves what there is for the next attempt. Otherwise a drain ends the tape
    at the time that every partition has reached.

    Raises TopicError and BrokerError as a flow that reads the topic does, RefusedError where the tape is taken or its run folder holds
    something else or is in use, TapeError where the stream holds a tick that a tape cannot.
    """
    options.out.parent.mkdir(parents=True, exist_ok=True)
    folder = run_folder(options.out)
    shutil.rmtree(_aside(folder), ignore_errors=True)
    refuse_taken(options.out, options.overwrite)
    if options.fresh or (folder.path.is_dir() and folder.read_run() is not None):  # of a tape that was made and is gone
        _remove(folder)
    process = Process(NAME, settings, folder, Live() if live is None else live, Drain() if drain is None else drain)
    recorded = Recorded(options.out)
    recorded.ended = run(process, "", lambda p: wire(p, options, recorded), epoch_s)
    if recorded.manifest is not None:
        _remove(folder)
    return recorded


def _aside(folder: RunFolder) -> Path:
    """The name under which a run folder is deleted."""
    return folder.path.with_name(f"{folder.path.name}.deleted")


def _remove(folder: RunFolder) -> None:
    """Deletes a run folder, if there is one. It takes another name first: cut short, no half of it is in the way of the next attempt.

    Raises RefusedError where a process uses it, or it holds no run.
    """
    if not folder.path.is_dir():
        return
    names = {p.name for p in folder.path.iterdir()}
    if names - {"lock"} and "identity.json" not in names:
        msg = f"{folder.path} is not empty and holds no recording; delete it, or give another --out"
        raise RefusedError(msg)
    with folder.locked():
        folder.path.rename(_aside(folder))
    shutil.rmtree(_aside(folder))


def build(settings: Settings, options: Options) -> Dataflow:
    """The flow, for a runner of one's own; it keeps ticks in the run folder, and makes no tape: that is done after the flow."""
    return wire(Process(NAME, settings, run_folder(options.out)), options, Recorded(options.out)).flow


def live() -> Dataflow:
    """For Bytewax's own runner, settings from the environment. `spiketape run record` is the way with lock, recovery, health and tape."""
    settings = load_settings()
    return build(settings, Options(Path("tapes") / settings.deployment))

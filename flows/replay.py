"""Replay: a tape through the trading flow into a run folder, resumed where an earlier attempt was, byte-identical however it is run."""

from __future__ import annotations

import errno
import gc
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bytewax.recovery import RecoveryConfig
from bytewax.run import cli_main

from flows.inputs import check_speed, check_symbols, check_times, feeds_of
from flows.memory import keep_freed_memory
from flows.model import model_for
from flows.offline import shard_outs
from flows.results import codebook, run_result
from flows.terminal import say, stderr
from flows.trading import Stages, flow_over, steps
from operators.decoding import summarise
from operators.sinks import Decision, Identity, Lake, LakeReader, Ledger, RunFolder, code_version
from operators.sinks.delta import failure
from operators.sinks.operator import Holder, RowsSink
from operators.sources.replay import TapeCursor
from operators.sources.replay.operator import TapeSource
from operators.sources.tape import Tape
from operators.spiking import DEFAULT_MODEL
from operators.timeline.control import Credit, Drain, Meters, peak_rss_mb
from operators.timeline.registry import confirm, opened
from schemas.control import NO_LOG, ControlLog
from schemas.errors import SpiketapeError, UsageError
from schemas.settings import Settings, settings_hash
from schemas.tables import Rows

if TYPE_CHECKING:
    from flows.replay_points import ReplayPoints

SINK_STEP = "rows"
POINTS_STEP = "points"
ATTEMPTS = "attempts.jsonl"
NO_SKILL: dict[str, Any] = {"network": {}, "imbalance": {}, "network_less_imbalance": {}}
"""Without a lake nothing keeps the counts over a resume, so none are given."""
CONTROLLED = "+control:"
"""In the identity of a run that control messages steered, after its settings' hash; then the log's digest."""
WARM_TICKS = 4096
WARMED = "replayed"
"""File in the folder of compiled kernels that says that a replay has used them."""
LAST_WORDS_S = 0.5
"""How long the engine's and the lake's threads have to say what they say of an error that is already known here."""
MOST_WORKERS = 256
MOST_BATCH_TICKS = 2**31
MOST_EPOCH_S = 86_400


@dataclass(frozen=True)
class Execution:
    """How a replay is run; may change between attempts and never changes what comes out."""

    workers: int = 1
    batch_ticks: int = 262_144
    epoch_s: float = 5.0
    speed: float | None = None
    lake: bool = True
    influx: bool = False

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("workers", self.workers, 1, MOST_WORKERS),
            ("batch-ticks", self.batch_ticks, 1, MOST_BATCH_TICKS),
            ("epoch-s", self.epoch_s, 0, MOST_EPOCH_S),
        ):
            if not least <= value <= most:
                msg = f"--{name} {value}: must be from {least} to {most}"
                raise UsageError(msg)
        check_speed(self.speed)


@dataclass(frozen=True)
class Outcome:
    """What came of an attempt. `drained_by`: the signal that ended it early, then `run` is None; `already`: it was finished before."""

    folder: RunFolder
    run: dict[str, Any] | None
    drained_by: int | None = None
    already: bool = False


def replay(
    tape: Tape,
    settings: Settings,
    model_path: Path | None,
    out: Path,
    execution: Execution,
    fresh: bool = False,
    forget: bool = False,
    on_rows: Callable[[int, int], None] = lambda _done, _total: None,
    control: ControlLog = NO_LOG,
) -> Outcome:
    """Replays a tape into the run folder `out`. `on_rows` is told rows read and rows in all; `control` is obeyed at its slices.

    Raises RefusedError for a folder in use or of another job, StateMismatchError where its state does not fit, TapeError, ModelError,
    LakeError.
    """
    began = time.monotonic()
    keep_freed_memory()
    check_symbols(tape, settings.replay.symbols)
    check_times(tape, settings.replay)
    model = model_for(settings, model_path)
    stages = Stages(settings, tape.instruments, model, forget, control)
    folder = RunFolder(out)
    identity = Identity(
        tape=tape.manifest.tape_hash,
        settings=settings_hash(settings) + (CONTROLLED + control.digest if control.messages else "") + ("+forget" if forget else ""),
        model=model.digest.hex(),
        code=code_version(),
    )
    with folder.locked():
        if folder.decide(identity, fresh) is Decision.FINISHED:
            return Outcome(folder, folder.read_run(), already=True)
        folder.write_settings(settings.model_dump(mode="json"))
        points = _points(tape, stages, folder, fresh) if execution.influx else None
        versions = steps({SINK_STEP: RowsSink.version, **({} if points is None else {POINTS_STEP: points.sink.version})})
        with quiet_engine(folder.path):
            recovery, resumed = opened(folder.recovery, versions)
        _warm(tape, stages)
        gc.freeze()  # modules and kernels are here to stay: no collection looks at them again, which is 2% of a replay
        attempt = _Attempt(tape, stages, folder, execution, on_rows, points)
        setup_s = time.monotonic() - began
        spent = attempt.run(recovery)
        with quiet_engine(folder.path):
            confirm(folder.recovery, versions)
        if attempt.drain.signal is not None and not attempt.finished:
            return Outcome(folder, None, attempt.drain.signal)
        run = run_result(
            tape=tape,
            stages=stages,
            folder=folder,
            ledger=attempt.ledger,
            account=attempt.account,
            meters=attempt.meters,
            workers=execution.workers,
            attempt={"resumed": resumed, "setup_s": setup_s, "times": attempt.cursor.times(), **spent},
            skill=_skill(folder) if execution.lake else NO_SKILL,
        )
        run["model_file"] = str(model_path or DEFAULT_MODEL)
        if points is not None:
            run["influx"] = points.summary()
        folder.write_run(run)
        return Outcome(folder, run)


def _points(tape: Tape, stages: Stages, folder: RunFolder, fresh: bool) -> ReplayPoints:
    """The way into this replay's own bucket. Imported here: a replay without InfluxDB loads nothing of it."""
    from flows.replay_points import ReplayPoints

    return ReplayPoints(tape.instruments, stages.settings, folder, fresh)


def _skill(folder: RunFolder) -> dict[str, Any]:
    """The skill of network and imbalance rule over the whole run, all attempts, from the lake's table of counts."""
    table = LakeReader(folder.lake).table("skill")
    return summarise([Rows("skill", k.key, k.rows) for k in table.keys])


def cursor_of(tape: Tape, stages: Stages) -> TapeCursor:
    """The cursor that reads what the stages' places need of a tape, from the warm-up to `--to`."""
    shards = list(stages.places)
    index = stages.shard_index
    feeds = feeds_of(tape, dict(stages.places))
    chosen = stages.settings.replay
    first = None if chosen.from_ns is None else chosen.from_ns - chosen.warm_up_ns
    return TapeCursor(tape, tape.partitions, shards, index, [feeds[s] for s in shards], stages.settings.slice_ns, first, chosen.to_ns)


class _Attempt:
    """One start of the flow: what it is built of, and what is left of it afterwards."""

    def __init__(
        self,
        tape: Tape,
        stages: Stages,
        folder: RunFolder,
        execution: Execution,
        on_rows: Callable[[int, int], None],
        points: ReplayPoints | None,
    ) -> None:
        self.drain = Drain() if points is None else points.drain
        self._points = points
        self.meters = Meters()
        self._stages = stages
        self._execution = execution
        self._folder = folder.path
        self._holder = Holder()
        self.cursor = cursor_of(tape, stages)
        total = self.cursor.rows_total
        credit = Credit(stages.settings.max_open_slices)
        self._source = TapeSource(
            "ticks",
            self.cursor,
            execution.batch_ticks,
            stages.settings.slice_ns,
            self.drain,
            credit,
            self.meters,
            execution.speed,
            lambda rows: on_rows(rows, total),
            self._note_start,
        )
        self._attempts = folder.recovery / ATTEMPTS
        listed = tape.instruments
        scales = [i.notional_scale for i in listed.instruments]

        def lake_of() -> Lake:
            return Lake(folder.lake, listed, stages.settings, codebook())

        sink = RowsSink(lambda: Ledger(listed.symbols, scales), lake_of if execution.lake else None, self._holder, self._note_ahead)
        self.accounts: dict[str, Any] = {}
        feeds = feeds_of(tape, dict(stages.places))
        telling = None if points is None else {POINTS_STEP: points.sink}
        self._flow = flow_over(stages, self._source, feeds, {SINK_STEP: sink}, credit, self.meters, self.accounts, telling)

    def run(self, recovery: RecoveryConfig) -> dict[str, Any]:
        """Runs the flow to the end of the tape or to a drain; returns what it cost."""
        wall, cpu = time.monotonic(), time.process_time()
        with self.drain.on_signals(), quiet_engine(self._folder):
            cli_main(
                self._flow,
                workers_per_process=self._execution.workers,
                epoch_interval=timedelta(seconds=self._execution.epoch_s),
                recovery_config=recovery,
            )
        if self._holder.lake is not None:
            with quiet_engine(self._folder):  # deltalake panics beside its error where the disk is full
                self._holder.lake.finish()
        if self._points is not None:
            self._points.settle()
        spent = {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}
        lake = self._holder.lake
        return {
            **spent,
            "rows_this_attempt": self._source.rows_this_attempt,
            "rows_skipped_by_token": 0 if lake is None else lake.skipped,
            "peak_rss_mb": round(peak_rss_mb(), 1),
        }

    def _note_start(self, rows: int, k: int) -> None:
        self._note({"workers": self._execution.workers, "rows": rows, "slice": k})

    def _note_ahead(self, rows: int) -> None:
        self._note({"lake_ahead_rows": rows})

    def _note(self, line: dict[str, int]) -> None:
        """Tells of an attempt in recovery/attempts.jsonl: from where it goes on, and how many rows the lake already holds beyond."""
        with self._attempts.open("a") as f:
            f.write(json.dumps({"pid": os.getpid(), **line}) + "\n")

    @property
    def finished(self) -> bool:
        """Whether the final mark has been sent: the whole tape is through."""
        return self._source.finished

    @property
    def ledger(self) -> Ledger:
        assert self._holder.ledger is not None
        return self._holder.ledger

    @property
    def account(self) -> dict[str, Any]:
        """The account's summary as of now."""
        logic = self.accounts[self._stages.settings.account.id]
        stage = self._stages.account(self._stages.settings.account.id)
        return stage.summary(logic.state)


def _warm(tape: Tape, stages: Stages) -> None:
    """Compiles, or loads from the cache, every kernel, by running the first ticks of the tape with states that are thrown away."""
    warmed = Path(os.environ.get("NUMBA_CACHE_DIR", "")) / WARMED
    if not warmed.exists():
        say("compiling the kernels of this release, once: about half a minute")
    cursor = cursor_of(tape, stages)
    stage = stages.account("warm")
    outs = next(shard_outs(stages, cursor, WARM_TICKS), None)
    if outs is not None:
        stage.step(stage.start(), outs)
    with suppress(OSError):
        warmed.touch()


@contextmanager
def quiet_engine(run: Path) -> Iterator[None]:
    """Keeps what the engine writes to standard error when a step fails (panics with back-traces) off the terminal.

    The error itself comes as a Python exception. Where it is one that a user can mend, it is raised as a SpiketapeError in its place;
    `run`: the folder that the engine writes to. Else the error is unexpected, and what the engine wrote is shown.
    """
    saved = os.dup(2)
    try:
        with tempfile.TemporaryFile() as kept:
            os.dup2(kept.fileno(), 2)
            try:
                with _terminal_on(saved), os.fdopen(os.dup(kept.fileno()), "w") as quiet, redirect_stderr(quiet):
                    yield
            except KeyboardInterrupt:
                raise
            except BaseException as e:
                time.sleep(LAST_WORDS_S)
                kept.seek(0)
                said = kept.read()
                known = _known(e, said.decode("utf-8", "replace"), run)
                if known is not None:
                    raise known from e
                os.write(saved, said)
                raise
            finally:
                os.dup2(saved, 2)
    finally:
        os.close(saved)


@contextmanager
def _terminal_on(descriptor: int) -> Iterator[None]:
    """Points the console for progress at the real terminal while standard error is kept."""
    with os.fdopen(os.dup(descriptor), "w") as real:
        before = stderr._file
        stderr.file = real
        try:
            yield
        finally:
            stderr._file = before


def _known(e: BaseException, said: str, run: Path) -> SpiketapeError | None:
    """The error in a chain of exceptions that a user can mend; a disk that is full for the recovery store is only in what was `said`."""
    at: BaseException | None = e
    while at is not None:
        if isinstance(at, SpiketapeError):
            return at
        if isinstance(at, OSError):
            return failure(run, "written", at)
        at = at.__cause__ or at.__context__
    for text, number in _STORE_FAILURES.items():
        if text in said or text in str(e):
            return failure(run, "written", OSError(number, text))
    return None


_STORE_FAILURES = {
    "database or disk is full": errno.ENOSPC,
    "attempt to write a readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
    "disk I/O error": errno.EIO,
}
"""What SQLite says where the engine gives no typed error, and what that is."""


def short_hash(settings: Settings) -> str:
    """Eight digits of the settings' hash, for the name of a run folder."""
    return settings_hash(settings)[:8]

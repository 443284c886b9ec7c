"""What a report is made of: the finished run, its lake, and what is computed anew from its tape."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flows.replay import CONTROLLED, cursor_of
from flows.report.market import Market, survey
from flows.report.raster import Raster, raster_of
from flows.report.skill import pooled
from flows.report.variants import HEADLINE_DELAY_NS, executions_of, rows_of, variants_of
from flows.terminal import progress
from flows.trading import Stages
from operators.sinks import LakeReader, RunFolder
from operators.sources.tape import Tape
from operators.spiking import TickNetwork, load_model
from schemas.errors import ModelError, UsageError
from schemas.settings import Settings
from schemas.tables import EQUITY, ORDER, SIGNAL


@dataclass(frozen=True, eq=False)
class Findings:
    """All that the page is made of. `variants` and `raster` are None where they were not computed; `without` says why."""

    run: dict[str, Any]
    tape: Tape
    settings: Settings
    model: TickNetwork | None
    skill: dict[str, Any]
    market: Market
    executions: npt.NDArray[np.void]
    orders: npt.NDArray[np.void]
    equity: npt.NDArray[np.void]
    signals: npt.NDArray[np.void]
    labels: npt.NDArray[np.int8]
    variants: dict[str, Any] | None
    raster: Raster | None
    without: str | None


def load_run(folder: RunFolder) -> dict[str, Any]:
    """run.json of a finished run. Raises UsageError where the folder holds none, and says what to do."""
    run = folder.read_run()
    if run is None:
        msg = f"{folder.path} holds no finished run; go on with it by the same `spiketape replay`, or give the folder that it printed"
        raise UsageError(msg)
    return run


def findings(folder: RunFolder, tape: Tape, variants: bool = True) -> Findings:
    """Reads the run, its lake and its tape, and computes what the page shows."""
    run = load_run(folder)
    settings = Settings.model_validate(folder.read_settings())
    reader = LakeReader(folder.lake)
    model, without = _model(run)
    identity = folder.identity()
    forget = identity is not None and identity.settings.endswith("+forget")
    stages = Stages(settings, tape.instruments, model or load_model(None), forget)
    with ExitStack() as stack:

        def bar(what: str, total: int) -> Callable[[int], None]:
            stack.close()
            return stack.enter_context(progress(what, total, "ticks"))

        cursor = cursor_of(tape, stages)
        market = survey(stages, cursor, bar("report: the market's path", cursor.rows_total))
        signals, executions = rows_of(reader, "signals", SIGNAL), executions_of(reader)
        computed = raster = None
        if identity is not None and CONTROLLED in identity.settings:
            without = "the account was not run again under other settings: control messages steered it"
        elif not variants:
            without = "the account was not run again under other settings (spiketape report does it)"
        elif model is not None:
            computed = variants_of(folder, run, tape, stages, market, signals, bar)
    if model is not None:
        raster = _raster(tape, stages, executions, market)
    return Findings(
        run,
        tape,
        settings,
        model,
        pooled(reader),
        market,
        executions,
        rows_of(reader, "orders", ORDER),
        rows_of(reader, "equity", EQUITY),
        signals,
        _labels(signals, market),
        computed,
        raster,
        without,
    )


def _model(run: dict[str, Any]) -> tuple[TickNetwork | None, str | None]:
    path = Path(run["model_file"])
    try:
        model = load_model(path)
    except ModelError as e:
        return None, f"the run's model cannot be read any more ({e})"
    if model.digest.hex() != run["model"]:
        return None, f"{path} is not the run's model any more (it is {model.digest.hex()[:16]}, the run's was {run['model'][:16]})"
    return model, None


def _labels(signals: npt.NDArray[np.void], market: Market) -> npt.NDArray[np.int8]:
    labels = np.zeros(signals.size, np.int8)
    for s in np.unique(signals["symbol"]).tolist():
        mine = signals["symbol"] == s
        labels[mine] = market.paths[s].labels(signals["ts_ns"][mine], HEADLINE_DELAY_NS)
    return labels


def _raster(tape: Tape, stages: Stages, executions: npt.NDArray[np.void], market: Market) -> Raster | None:
    """Around the middle fill of the most traded symbol; without fills, the middle of the busiest path."""
    if executions.size:
        symbol = int(np.bincount(executions["symbol"]).argmax())
        times = executions["ts_ns"][executions["symbol"] == symbol]
        return raster_of(tape, stages, symbol, int(times[times.size // 2]) - 10 * 10**9)
    symbol, path = max(market.paths.items(), key=lambda x: x[1].ts_ns.size)
    return raster_of(tape, stages, symbol, int(path.ts_ns[path.ts_ns.size // 2])) if path.ts_ns.size else None

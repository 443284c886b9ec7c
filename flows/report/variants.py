"""What the account would have made under other assumptions: one pass over what the shards say feeds many accounts.

Other fill rules and latencies change the venue only, so they take the signals of the run. Controls change the signals only:

- `random 1..n`: from flat to flat, a symbol's signals keep their times and are mirrored as a whole by the toss of a coin
  (schemas.exact): as many entries, turns and exits as the run's signals, at the same moments, with directions that know nothing;
- `right at these moments`: each signal that takes a side takes that of the next change of the mid after 150 ms, where there is one;
- `oracle`: at each change of the mid (at most one new action a symbol and `signal.min_interval_ms`) the side of the next change. It
  shows what knowing the next change is worth to this book, with its order types and holding times; measures.ceilings has the taker
  that leaves at the change.

Other slices (W) change when everything is decided, so each needs a pass of its own. A long tape is covered up to a stated number of ticks.
Where all of it is covered, the account computed here under the run's own settings must equal the run's to the last digit; where not, its
fees and fills up to there must equal those in the lake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from flows.offline import shard_outs
from flows.replay import cursor_of
from flows.report.market import BATCH_TICKS, Market
from flows.report.skill import HEADLINE_MS
from flows.results import plain
from flows.trading import Stages
from operators.book import AccountStage
from operators.sinks import LakeReader, RunFolder
from operators.sources.tape import Tape
from operators.timeline.stage import State
from schemas.errors import SpiketapeError
from schemas.exact import uniform64
from schemas.ranges import SliceOut
from schemas.settings import Settings
from schemas.tables import EXECUTION, SIGNAL
from schemas.ticks import Ints

FORMAT: Final = 1
PART_TICKS: Final = 3_000_000
"""Ticks that the variants cover at most; the page says so where a tape is longer."""
RANDOM_RUNS: Final = 3
CONTROL_SEED: Final = 20131011
HEADLINE_DELAY_NS: Final = int(HEADLINE_MS) * 1_000_000
CERTAIN_E6: Final = 1_000_000
BASE: Final = "as run"
RIGHT: Final = "right at these moments"
ORACLE: Final = "oracle"

Signals = npt.NDArray[np.void]


@dataclass(frozen=True)
class Variant:
    """A name, settings, and by shard the signals that take the place of the shard's own (None: its own)."""

    name: str
    settings: Settings
    signals: dict[int, Signals] | None = None


def variants_of(
    folder: RunFolder,
    run: dict[str, Any],
    tape: Tape,
    stages: Stages,
    market: Market,
    signals: Signals,
    progress: Callable[[str, int], Callable[[int], None]],
    part_ticks: int = PART_TICKS,
) -> dict[str, Any]:
    """From variants.json where it is this run's, else computed: {"format", "output_hash", "part_ticks", "ticks" covered, "whole",
    "slices_before": the first slice that is not covered, "accounts": {name: account as in run.json}}.

    `signals` are all of the run's, in the order of their symbols. `progress(what, total)` returns what is told the ticks so far.
    Raises SpiketapeError where the account under the run's own settings is not the run's.
    """
    kept = folder.read_variants()
    wanted = {"format": FORMAT, "output_hash": run["output_hash"], "part_ticks": part_ticks}
    if kept is None or any(kept.get(k) != v for k, v in wanted.items()):
        kept = wanted | _computed(tape, stages, market, signals, progress, part_ticks)
        _check(folder, run, kept)
        folder.write_variants(kept)
        return kept
    _check(folder, run, kept)
    return kept


def _computed(
    tape: Tape,
    stages: Stages,
    market: Market,
    signals: Signals,
    progress: Callable[[str, int], Callable[[int], None]],
    part_ticks: int,
) -> dict[str, Any]:
    cursor = cursor_of(tape, stages)
    total = min(cursor.rows_total, part_ticks)
    first = _together(stages, tape, variants(stages, market, signals), part_ticks, progress("report: variants", total))
    for slice_ms in sorted({10, 100, 500} - {stages.settings.slice_ms}):
        other = replace(stages, settings=stages.settings.model_copy(update={"slice_ms": slice_ms}))
        one = [Variant(f"W {slice_ms} ms", other.settings)]
        ticks = progress(f"report: slices of {slice_ms} ms", total)
        first["accounts"] |= _together(other, tape, one, part_ticks, ticks)["accounts"]
    return first


def variants(stages: Stages, market: Market, signals: Signals) -> list[Variant]:
    """All that share the run's slices."""
    base = stages.settings

    def venue(**update: Any) -> Settings:
        return base.model_copy(update={"venue": base.venue.model_copy(update=update)})

    found = [Variant(BASE, base)]
    found += [Variant(f"fill rule {r}", venue(fill_rule=r)) for r in ("touch", "queue", "trade_through") if r != base.venue.fill_rule]
    scale = base.venue.latency_scale
    found += [Variant(f"latency x {x}", venue(latency_scale=scale * x)) for x in (0, 3)]
    found += [
        Variant(f"random {i + 1}", base, _by_shard(stages, tossed(signals, stages.instruments.symbols, CONTROL_SEED + i)))
        for i in range(RANDOM_RUNS)
    ]
    found.append(Variant(RIGHT, base, _by_shard(stages, corrected(signals, market))))
    found.append(Variant(ORACLE, base, _by_shard(stages, foreseen(stages, market))))
    return found


def tossed(signals: Signals, symbols: tuple[str, ...], seed: int) -> Signals:
    """Signals of which each stretch of a symbol, from flat to flat, is mirrored or not by the toss of a coin."""
    out = signals.copy()
    for s in np.unique(signals["symbol"]).tolist():
        mine = np.flatnonzero(signals["symbol"] == s)
        action = signals["action"][mine]
        stretch = np.cumsum(np.concatenate([[False], action[:-1] == 0]) if mine.size else np.zeros(0, bool))
        stream = int.from_bytes(symbols[s].encode()[-8:].rjust(8, b"\0"), "big") & (2**63 - 1)
        coins = np.array([1 if uniform64(seed, stream, n) < 0.5 else -1 for n in range(int(stretch[-1]) + 1)], np.int8)
        out["action"][mine] = action * coins[stretch]
    return out


def corrected(signals: Signals, market: Market) -> Signals:
    """Signals whose sides are those of the next change of the mid after 150 ms; hold where none follows."""
    out = signals.copy()
    for s in np.unique(signals["symbol"]).tolist():
        mine = np.flatnonzero((signals["symbol"] == s) & (signals["action"] != 0))
        out["action"][mine] = market.paths[s].labels(signals["ts_ns"][mine], HEADLINE_DELAY_NS)
    out["confidence_e6"] = CERTAIN_E6
    return out


def foreseen(stages: Stages, market: Market) -> Signals:
    """Signals at changes of the mid that know the next one."""
    settings = stages.settings
    start = settings.replay.from_ns
    parts = [np.zeros(0, SIGNAL)]
    for s, path in market.paths.items():
        if not stages.instruments.instruments[s].tradeable:
            continue
        ts = path.ts_ns[path.spells()]
        label = path.labels(ts, HEADLINE_DELAY_NS)
        usable = np.ones(ts.size, bool) if start is None else ts >= start
        at = _changes(ts, label, usable, settings.signal.min_interval_ms * 1_000_000)
        rows = np.zeros(at.size, SIGNAL)
        rows["n"], rows["ts_ns"], rows["symbol"] = np.arange(at.size), ts[at], s
        rows["slice"], rows["action"], rows["confidence_e6"] = ts[at] // settings.slice_ns, label[at], CERTAIN_E6
        parts.append(rows)
    return np.concatenate(parts)


def _changes(ts_ns: Ints, label: npt.NDArray[np.int8], usable: npt.NDArray[np.bool_], interval_ns: int) -> Ints:
    """Places at which an action that follows `label` changes, at most once in `interval_ns`."""
    found, action, last = [], 0, -(2**62)
    for i, (ts, wanted, may) in enumerate(zip(ts_ns.tolist(), label.tolist(), usable.tolist(), strict=True)):
        if may and wanted != action and ts - last >= interval_ns:
            found.append(i)
            action, last = wanted, ts
    return np.array(found, np.int64)


def _by_shard(stages: Stages, signals: Signals) -> dict[int, Signals]:
    """Signals of each shard, ordered by (slice, time, symbol) as a SliceOut has them."""
    ordered = signals[np.lexsort((signals["n"], signals["symbol"], signals["ts_ns"], signals["slice"]))]
    return {shard: ordered[np.isin(ordered["symbol"], place.symbols)] for shard, place in stages.places.items()}


def _together(stages: Stages, tape: Tape, chosen: list[Variant], part_ticks: int, moved: Callable[[int], None]) -> dict[str, Any]:
    """Accounts of variants over one pass, at most `part_ticks` ticks (to the end of a range)."""
    running = [_Running(stages, v) for v in chosen]
    cursor = cursor_of(tape, stages)
    ticks, hi, whole = 0, 0, True
    outs = shard_outs(stages, cursor, BATCH_TICKS)
    for out in outs:
        for r in running:
            r.step(out)
        ticks += sum(o.gated.read for o in out if o.gated is not None)
        hi = out[0].hi
        moved(ticks)
        if ticks >= part_ticks:
            whole = next(outs, None) is None
            break
    return {"ticks": ticks, "whole": whole, "slices_before": hi, "accounts": {r.name: plain(r.summary()) for r in running}}


class _Running:
    """One account under way."""

    def __init__(self, stages: Stages, variant: Variant) -> None:
        self.name = variant.name
        self._signals = variant.signals
        self._stage = AccountStage(stages.instruments, variant.settings, stages.shards)
        self._state: State = self._stage.start()

    def step(self, out: tuple[SliceOut, ...]) -> None:
        x = tuple(replace(o, rows=(), signals=self._replaced(o)) for o in out)
        self._state, _ = self._stage.step(self._state, x)

    def _replaced(self, out: SliceOut) -> Signals:
        if self._signals is None:
            return out.signals
        signals = self._signals[out.shard]
        a, b = np.searchsorted(signals["slice"], [out.lo, out.hi])
        return signals[a:b]

    def summary(self) -> dict[str, Any]:
        return self._stage.summary(self._state)


def _check(folder: RunFolder, run: dict[str, Any], computed: dict[str, Any]) -> None:
    base = computed["accounts"][BASE]
    if computed["whole"]:
        differ = [k for k in run["account"] if base.get(k) != run["account"][k]]
        if differ or base["pnl"] != run["pnl"]:
            msg = (
                f"the account of {folder.path} computed anew from its tape is not the run's: {', '.join(differ) or 'pnl'} differ (net "
                f"{base['pnl']['net']}, the run has {run['pnl']['net']}); run it again with --fresh, and check it with spiketape verify"
            )
            raise SpiketapeError(msg)
        return
    rows = executions_of(LakeReader(folder.lake))
    before = rows[rows["slice"] < computed["slices_before"]]
    fees = sum(before["fee_e10"].tolist())
    if len(before) != base["fills"] or money_text(fees) != base["fees"]:
        msg = (
            f"the first {computed['ticks']:,} ticks of {folder.path} computed anew give {base['fills']} fills and fees of "
            f"{base['fees']}, the lake holds {len(before)} and {money_text(fees)}; run it again with --fresh, and check it with "
            "spiketape verify"
        )
        raise SpiketapeError(msg)


def money_text(e10: int) -> str:
    """Money in units of 1e-10 as run.json has it."""
    sign, whole = "-" * (e10 < 0), abs(e10)
    return f"{sign}{whole // 10**10}.{whole % 10**10:010d}"


def executions_of(reader: LakeReader) -> npt.NDArray[np.void]:
    """All executions of a run in the order in which they were booked."""
    return rows_of(reader, "executions", EXECUTION)


def rows_of(reader: LakeReader, table: str, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """All rows of a table, key after key; none where there is no such table."""
    if table not in reader.names():
        return np.zeros(0, dtype)
    return np.concatenate([np.zeros(0, dtype), *(k.rows for k in reader.table(table).keys)])

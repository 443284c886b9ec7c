"""What a run comes to: the object that `replay --json` prints and run.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flows.trading import Stages
from operators.risk import RiskRule
from operators.sinks import Codebook, Ledger, RunFolder, chain_table, code_version
from operators.sources.tape import Tape
from operators.timeline.control import Meters
from schemas.orders import Reason
from schemas.tables import MONEY_EXPONENT


def codebook() -> Codebook:
    """Names of the codes that the lake shows in words: rules of verdicts, reasons of orders."""
    return {"rule": {int(r): r.name for r in RiskRule}, "reason": {int(r): r.name for r in Reason}}


def run_result(
    tape: Tape,
    stages: Stages,
    folder: RunFolder,
    ledger: Ledger,
    account: Mapping[str, Any],
    meters: Meters,
    workers: int,
    attempt: Mapping[str, Any],
    skill: Mapping[str, Any],
) -> dict[str, Any]:
    """The object of run.json; money is a decimal string.

    `attempt`: what this start cost, and the first and last time on the stretch of tape that was read; `skill`: of the network and of
    the imbalance rule.
    """
    named = ledger.totals.named(tape.instruments.symbols, codebook())
    cpu_s = float(attempt["cpu_s"])
    times = attempt["times"]
    rows = int(attempt["rows_this_attempt"])
    return {
        "tape": str(tape.path),
        "out": str(folder.path),
        "model": stages.model.digest.hex(),
        "workers": workers,
        "slice_ms": stages.settings.slice_ms,
        "resumed": attempt["resumed"],
        "version": code_version(),
        "rows_read": named["rows_read"],
        "ticks": named["ticks"],
        "dead_letters": named["dead_letters"],
        "late_ticks": named["late_ticks"],
        "quality": named["quality"],
        "corporate_actions": _actions(tape, stages, times),
        "symbols": [tape.instruments.symbols[s] for place in stages.places.values() for s in place.symbols],
        "slices": named["slices"],
        "first_ts_ns": None if times is None else times[0],
        "last_ts_ns": None if times is None else times[1],
        "signals": named["signals"],
        "intents": named["intents"],
        "refusals": named["refusals"],
        "orders": named["orders"],
        "fills": named["fills"],
        "volume": _money(named["volume_e10"]),
        "fees": _money(named["fees_e10"]),
        "pnl": {name: f"{value:f}" for name, value in account["pnl"].items()},
        "max_drawdown": f"{account['max_drawdown']:f}",
        "account": plain(account),
        "input_spikes": named["input_spikes"],
        "hidden_spikes": named["hidden_spikes"],
        "rows": named["rows"],
        "skill": skill["network"],
        "skill_imbalance": skill["imbalance"],
        "skill_difference": skill["network_less_imbalance"],
        "output_hash": ledger.output_hash(),
        "chains": chain_table(ledger.chains()),
        "setup_s": round(float(attempt["setup_s"]), 3),
        "wall_s": round(float(attempt["wall_s"]), 3),
        "cpu_s": round(cpu_s, 3),
        "ticks_per_cpu_s": round(rows / cpu_s) if cpu_s else None,
        "peak_rss_mb": attempt["peak_rss_mb"],
        "rows_this_attempt": rows,
        "rows_skipped_by_token": attempt["rows_skipped_by_token"],
        "repeated_rows": named["repeated_rows"],
        "stages": {name: {"cpu_s": round(m["cpu_s"], 4), "items": m["items"]} for name, m in meters.by_step().items()},
    }


def _actions(tape: Tape, stages: Stages, times: tuple[int, int] | None) -> list[dict[str, Any]]:
    """Corporate actions that took effect between the first and the last tick that was read, of the symbols that were."""
    if times is None:
        return []
    read = [s for place in stages.places.values() for s in place.symbols]
    found = [a for s in sorted(read) for a in tape.instruments.actions_of(s) if times[0] < a.ts_ns <= times[1]]
    return [{"symbol": a.symbol, "ts_ns": a.ts_ns, "kind": a.kind, "terms": a.terms, "note": a.note} for a in found]


def _money(e10: int) -> str:
    return f"{Decimal(e10).scaleb(-MONEY_EXPONENT):f}"


def plain(value: Any) -> Any:
    """A value as JSON holds it: decimals as text, all through."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return value

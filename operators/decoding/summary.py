"""Skill as people read it: accuracy by symbol, delay and share with 95% intervals, from counts by 5-minute block.

The interval is a bootstrap of blocks: 1,000 seeded draws of as many blocks as there are, with replacement; accuracy is hits over
predictions of a draw. The difference of two predictors is taken on the same drawn blocks, each with its own predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.tables import SKILL, Predictor, Rows

DRAWS: Final = 1000
SEED: Final = 20131009

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def draws_of(blocks: int) -> Floats:
    """How often each block is in each draw: float64 (DRAWS, blocks). The same for the same number of blocks."""
    generator = np.random.Generator(np.random.PCG64(SEED))
    drawn: Floats = generator.multinomial(blocks, np.full(blocks, 1.0 / blocks), DRAWS).astype(np.float64)
    return drawn


def accuracy(hits2: Ints, n: Ints, drawn: Floats) -> tuple[float | None, float | None, float | None]:
    """(accuracy, low, high) of counts by block, hits in halves. None where there is no prediction."""
    if not n.sum():
        return None, None, None
    share = _drawn_accuracy(hits2, n, drawn)
    low, high = np.nanquantile(share, [0.025, 0.975])
    return float(hits2.sum() / 2 / n.sum()), float(low), float(high)


def difference(hits2: Ints, n: Ints, other_hits2: Ints, other_n: Ints, drawn: Floats) -> tuple[float | None, float | None, float | None]:
    """(difference, low, high) of the accuracies of two predictors on the same blocks. Better means low > 0."""
    if not n.sum() or not other_n.sum():
        return None, None, None
    gaps = _drawn_accuracy(hits2, n, drawn) - _drawn_accuracy(other_hits2, other_n, drawn)
    low, high = np.nanquantile(gaps, [0.025, 0.975])
    return float(hits2.sum() / 2 / n.sum() - other_hits2.sum() / 2 / other_n.sum()), float(low), float(high)


def _drawn_accuracy(hits2: Ints, n: Ints, drawn: Floats) -> Floats:
    counts: Floats = drawn @ n
    share: Floats = np.divide(drawn @ hits2, 2.0 * counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    return share


def summarise(skill: Iterable[Rows] | Mapping[str, npt.NDArray[Any]]) -> dict[str, dict[str, Any]]:
    """{"network": T, "imbalance": T, "network_less_imbalance": D} from skill rows, or from the columns of the lake's skill table.

    T: {symbol: {delay in ms: {share: {accuracy, low, high, n, expired, selected, spells, tick_weighted}}}}, D: the same down to
    {difference, low, high}. `selected` is the share of spells in which the predictor spoke. Columns: those of SKILL, with `symbol`
    as names and `predictor` as names or codes.
    """
    a = _columns(skill)
    found: dict[str, dict[str, Any]] = {"network": {}, "imbalance": {}, "network_less_imbalance": {}}
    for symbol in sorted(set(a["symbol"].tolist())):
        mine = {k: v[a["symbol"] == symbol] for k, v in a.items()}
        blocks, at = np.unique(mine["block"], return_inverse=True)
        drawn = draws_of(blocks.size)
        for delay in np.unique(mine["delay_ns"]).tolist():
            for share in np.unique(mine["share_e2"]).tolist():
                counts = {}
                for predictor in Predictor:
                    chosen = (mine["delay_ns"] == delay) & (mine["share_e2"] == share) & (mine["predictor"] == predictor)
                    counts[predictor] = {k: _by_block(mine[k][chosen], at[chosen], blocks.size) for k in _COUNTS}
                    cell = entry(counts[predictor], drawn)
                    _put(found[predictor.name.lower()], symbol, delay, share, cell)
                net, imb = counts[Predictor.NETWORK], counts[Predictor.IMBALANCE]
                gap, low, high = difference(net["hits2"], net["predictions"], imb["hits2"], imb["predictions"], drawn)
                _put(found["network_less_imbalance"], symbol, delay, share, {"difference": gap, "low": low, "high": high})
    return found


def entry(counts: Mapping[str, Ints], drawn: Floats) -> dict[str, Any]:
    """One cell of the table from counts by block: predictions, hits2, expired, spells, selected, tick_predictions, tick_hits2."""
    value, low, high = accuracy(counts["hits2"], counts["predictions"], drawn)
    total = {k: int(v.sum()) for k, v in counts.items()}
    return {
        "accuracy": value,
        "low": low,
        "high": high,
        "n": total["predictions"],
        "expired": total["expired"],
        "selected": total["selected"] / total["spells"] if total["spells"] else None,
        "spells": total["spells"],
        "tick_weighted": total["tick_hits2"] / 2 / total["tick_predictions"] if total["tick_predictions"] else None,
    }


_COUNTS: Final = ("predictions", "hits2", "expired", "spells", "selected", "tick_predictions", "tick_hits2")


def _put(table: dict[str, Any], symbol: str, delay_ns: int, share_e2: int, cell: dict[str, Any]) -> None:
    table.setdefault(symbol, {}).setdefault(str(delay_ns // 1_000_000), {})[share_name(share_e2)] = cell


def share_name(share_e2: int) -> str:
    """How a share is written: 0.1, 0.2, 0.5, 1.0."""
    return str(share_e2 / 100)


def _by_block(values: Ints, at: Ints, blocks: int) -> Ints:
    out = np.zeros(blocks, np.int64)
    np.add.at(out, at, values)
    return out


def _columns(skill: Iterable[Rows] | Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    if isinstance(skill, Mapping):
        codes = {p.name.lower(): int(p) for p in Predictor}
        columns = {k: np.asarray(skill[k]) for k in ("block", "delay_ns", "share_e2", *_COUNTS)}
        predictor = [codes[p] if isinstance(p, str) else int(p) for p in np.asarray(skill["predictor"]).tolist()]
        return columns | {"symbol": np.asarray(skill["symbol"]).astype(str), "predictor": np.array(predictor, np.int64)}
    rows = [r for r in skill if r.table == "skill"]
    joined = np.concatenate([np.empty(0, SKILL), *(r.a for r in rows)])
    names = [np.full(r.a.size, r.key) for r in rows]
    found = {k: joined[k] for k in ("block", "delay_ns", "share_e2", "predictor", *_COUNTS)}
    return found | {"symbol": np.concatenate(names) if names else np.empty(0, str)}

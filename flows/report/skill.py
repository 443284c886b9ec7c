"""Skill of all symbols together, with intervals: blocks of 5 minutes are drawn with all symbols in them."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.decoding.summary import difference, draws_of, entry, share_name
from operators.sinks import LakeReader
from schemas.tables import SKILL, Predictor

COUNTS = ("predictions", "hits2", "expired", "spells", "selected", "tick_predictions", "tick_hits2")
HEADLINE_MS = "150"
"""The delay that the report puts first, as skill tables name it: one slice and the median order latency."""
FEW_BLOCKS = 12
FEW_PREDICTIONS = 30
"""Below either an interval says little; the report marks it."""


def pooled(reader: LakeReader) -> dict[str, Any]:
    """{"blocks": n, "network" and "imbalance": {delay in ms: {share: cell}}, "network_less_imbalance": the same down to a difference}."""
    rows = np.zeros(0, SKILL)
    if "skill" in reader.names():
        rows = np.concatenate([rows, *(k.rows for k in reader.table("skill").keys)])
    blocks, at = np.unique(rows["block"], return_inverse=True)
    found: dict[str, Any] = {"blocks": int(blocks.size), "network": {}, "imbalance": {}, "network_less_imbalance": {}}
    drawn = draws_of(blocks.size) if blocks.size else np.zeros((0, 0))
    for delay in np.unique(rows["delay_ns"]).tolist():
        for share in np.unique(rows["share_e2"]).tolist():
            counts = {}
            for predictor in Predictor:
                mine = (rows["delay_ns"] == delay) & (rows["share_e2"] == share) & (rows["predictor"] == predictor)
                counts[predictor] = {c: np.bincount(at[mine], rows[c][mine], blocks.size).astype(np.int64) for c in COUNTS}
                cells = found[predictor.name.lower()].setdefault(str(delay // 1_000_000), {})
                cells[share_name(share)] = entry(counts[predictor], drawn)
            a, b = counts[Predictor.NETWORK], counts[Predictor.IMBALANCE]
            gap, low, high = difference(a["hits2"], a["predictions"], b["hits2"], b["predictions"], drawn)
            cells = found["network_less_imbalance"].setdefault(str(delay // 1_000_000), {})
            cells[share_name(share)] = {"difference": gap, "low": low, "high": high}
    return found

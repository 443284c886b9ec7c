"""How much of the best achievable skill the network reaches on a simulated tape that it has not seen, by one definition for both.

    python -m benchmarks.achievable --seed 31 --ticks 2000000

The best achievable is the filter that knows the simulator's model and sees only the rows (docs/simulator.md). Both have their
thresholds from the first 30 minutes of the tape and are scored on the rest, at both delays and every share. Prints one JSON
object: {delay in ms: {share: {network, best, lead, forgetful, n and intervals}}}; `lead` is the network's lead over 50% as a
part of the filter's.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from flows.model import model_for
from operators.sources.simulator import best_achievable, generate, pooled, simulated_instruments, skill_of
from operators.spiking.training import prepare_ticks
from schemas.settings import Settings

DELAYS_MS = (0, 150)
SHARES = (0.1, 0.2, 0.5, 1.0)
CALIBRATION_NS = 30 * 60 * 10**9
SYMBOLS = 16


def measure(seed: int, ticks: int, model_path: Path | None = None) -> dict[str, Any]:
    """The table for a tape of this seed and length."""
    chunks = list(generate(ticks, seed=seed, symbols=SYMBOLS))
    rows = np.concatenate([c for c, _ in chunks])
    listed = simulated_instruments(ticks, SYMBOLS)
    sessions = listed.sessions[listed.instruments[0].calendar]
    begun = tuple(s for s in sessions if s[0] <= rows["ts_ns"][-1])
    places = best_achievable(rows, np.concatenate([t for _, t in chunks]), begun, delays_ms=DELAYS_MS)
    until_ns = begun[0][0] + CALIBRATION_NS
    data = prepare_ticks(rows, listed)
    model = model_for(Settings(), model_path)
    said, forgot = data.scores(model), data.scores(model, forget=True)
    row_of = [np.empty(0, np.int64)] * SYMBOLS
    for s in range(SYMBOLS):
        mine = np.flatnonzero(data.ticks["symbol"] == s)
        row_of[s] = np.full(int(np.count_nonzero(rows["symbol"] == s)), -1, np.int64)
        row_of[s][data.ticks["seq"][mine].astype(np.int64)] = mine

    def placed(scores: Any, place: Any) -> Any:
        at = row_of[place.symbol][place.ticks["seq"].astype(np.int64)]
        return np.where(at >= 0, np.asarray(scores, np.float64)[at], np.nan)

    table: dict[str, Any] = {}
    for delay in DELAYS_MS:
        name = "score_now" if delay == 0 else "score"
        scores = {
            "best": [p.filtered[delay] - 0.5 for p in places],
            "network": [placed(getattr(said, name), p) for p in places],
            "forgetful": [placed(getattr(forgot, name), p) for p in places],
        }
        for share in SHARES:
            found = {who: pooled(skill_of(places, s, delay, share, until_ns)) for who, s in scores.items()}
            network, best = found["network"], found["best"]
            table.setdefault(str(delay), {})[str(share)] = {
                "network": round(network.accuracy, 4),
                "interval": [round(x, 4) for x in network.interval()],
                "best": round(best.accuracy, 4),
                "best_interval": [round(x, 4) for x in best.interval()],
                "lead": round((network.accuracy - 0.5) / (best.accuracy - 0.5), 3),
                "forgetful": round(found["forgetful"].accuracy, 4),
                "n": network.n,
            }
    return table


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, help="a seed that no model was trained on")
    parser.add_argument("--ticks", type=int, default=2_000_000)
    parser.add_argument("--model", type=Path, default=None, help="default: the package's")
    given = parser.parse_args()
    print(json.dumps(measure(given.seed, given.ticks, given.model), indent=1))


if __name__ == "__main__":
    main()

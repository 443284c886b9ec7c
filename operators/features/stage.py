"""Features of one shard: what a market maker would look at, tick by tick, without knowing anything that comes later.

Formulas of the features stand in operators/features/__init__.py. Two half-lives of event time, fast and slow, fade sums and means
exactly over the real gap between ticks. Scaling without look-ahead: an adaptive feature is divided by twice the running mean of its
own size (per symbol, half-life `scale_halflife_ticks`, at first the plain mean; a value enters it after it was scaled, and counts
for 16 times the mean at most), a level is divided by its running mean less 1, a natural one stays; all are clipped to [-3, 3].
A silence of more than `gap_reset_s` and a corporate action forget prices and flows, not scales: an action of the instrument list from its
time on, and a tick that is flagged as one at that tick. A leader's action forgets its moves alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from operators.features import kernels as k
from operators.features.cuts import Cut, Cuts
from operators.timeline.stage import Migration, ShardPlace, State
from schemas.exact import exp64
from schemas.features import FEATURE_NAMES
from schemas.ranges import FeatureRange, GatedRange, LeadSeries
from schemas.ticks import read_only

ADAPTIVE: Final = frozenset(
    (
        "return_fast",
        "return_slow",
        "imbalance_fast",
        "imbalance_slow",
        "microprice",
        "sign_flow_fast",
        "sign_flow_slow",
        "size_flow_fast",
        "size_flow_slow",
        "order_flow_fast",
        "order_flow_slow",
        "lead_fast",
        "lead_slow",
    )
)
"""Divided by twice their running mean size, so that |x| is one half on average."""
LEVELS: Final = frozenset(("spread", "volatility"))
"""Divided by their running mean, less 1."""

LEAD_HALFLIFE: Final = 2.0
"""Half-life of lead_slow in fast half-lives; lead_fast's is an eighth of it."""


class FeatureStage:
    """Features of one shard's ticks.

    State, by symbol of the shard (L) and leader (M), columns in operators/features/kernels.py: `whole` int64 (L, 14), `flow` float64
    (L, 13), `scale` float64 (L, features), `lead_whole` int64 (M, 2), `lead_flow` float64 (M, 2).
    """

    version = 2
    migrations: Mapping[int, Migration] = {}

    def __init__(self, place: ShardPlace) -> None:
        settings = place.settings.features
        mine = [place.instruments.instruments[s] for s in place.symbols]
        self._place = place
        self._leaders = place.leaders
        names = [place.instruments.symbols[s] for s in self._leaders]
        self._leader = np.array([names.index(i.leader) if i.leader in names else -1 for i in mine], np.int64)
        self._quoted = np.array([i.quoted for i in mine], np.uint8)
        self._tick_size = np.array([i.tick_size for i in mine], np.float64)
        fast_ns, slow_ns = settings.fast_halflife_s * 1e9, settings.slow_halflife_s * 1e9
        self._rates = np.array([1.0 / fast_ns, 1.0 / slow_ns, 1.0 / (LEAD_HALFLIFE * fast_ns)])
        self._gap_ns = int(settings.gap_reset_s * 1e9)
        self._scale_rate = 1.0 - exp64(-0.6931471805599453 / settings.scale_halflife_ticks)
        self._scaling = np.array([_scaling(name) for name in FEATURE_NAMES]).T.copy()
        self._fine, self._halves = k.halving_tables()
        self._scratch = np.zeros(len(FEATURE_NAMES))
        self._cuts = Cuts(place)

    def start(self) -> State:
        count, leaders = len(self._place.symbols), len(self._leaders)
        return {
            "whole": np.zeros((count, k.WHOLE), np.int64),
            "flow": np.zeros((count, k.FLOW)),
            "scale": np.zeros((count, k.COUNT)),
            "lead_whole": np.zeros((leaders, 2), np.int64),
            "lead_flow": np.zeros((leaders, 2)),
        }

    def step(self, state: State, x: tuple[GatedRange, tuple[LeadSeries, ...]]) -> tuple[State, FeatureRange]:
        """Features of the ticks of a range. `x`: the gated ticks, and the paths of `place.leaders`, in that order, over the same range.

        A leader's move counts for ticks strictly later than the time at which it was known. Raises ValueError where the paths are
        not those of the leaders over this range.
        """
        gated, leads = x
        if tuple((s.symbol, s.lo, s.hi) for s in leads) != tuple((s, gated.lo, gated.hi) for s in self._leaders):
            msg = (
                f"shard {self._place.shard}: expected paths of leaders {self._leaders} over [{gated.lo}, {gated.hi}), "
                f"given {[(s.symbol, s.lo, s.hi) for s in leads]}"
            )
            raise ValueError(msg)
        count = len(gated.ticks)
        features = np.empty((count, k.COUNT), np.float32)
        use = np.empty(count, np.uint8)
        cuts = self._cuts.find(state, gated, leads) if self._cuts else []
        began = Cut(0, tuple(0 for _ in leads))
        for cut in (*cuts, Cut(count, tuple(len(s.ts_ns) for s in leads))):
            self._between(state, gated, leads, began, cut, features, use)
            cut.forget(state)
            began = cut
        return state, FeatureRange(gated, features, use)

    def _between(
        self,
        state: State,
        gated: GatedRange,
        leads: tuple[LeadSeries, ...],
        first: Cut,
        end: Cut,
        features: npt.NDArray[np.float32],
        use: npt.NDArray[np.uint8],
    ) -> None:
        """Features of the ticks from one cut to the next, with what is known of the leaders up to there."""
        if first.row == end.row and first.entries == end.entries:
            return
        rows = slice(first.row, end.row)
        parts = [slice(a, b) for a, b in zip(first.entries, end.entries, strict=True)]
        ends = np.cumsum([p.stop - p.start for p in parts], dtype=np.int64)
        k.feature_range(
            read_only(gated.ticks[rows]),
            read_only(gated.slices[rows]),
            read_only(gated.gate[rows]),
            self._place.local,
            self._quoted,
            self._tick_size,
            self._leader,
            np.concatenate([s.ts_ns[p] for s, p in zip(leads, parts, strict=True)]) if leads else np.empty(0, np.int64),
            np.concatenate([s.price2[p] for s, p in zip(leads, parts, strict=True)]) if leads else np.empty(0, np.int64),
            ends - np.array([p.stop - p.start for p in parts], np.int64),
            ends,
            self._rates,
            self._place.settings.slice_ns,
            self._gap_ns,
            self._scale_rate,
            self._scaling,
            self._fine,
            self._halves,
            state["whole"],
            state["flow"],
            state["scale"],
            state["lead_whole"],
            state["lead_flow"],
            self._scratch,
            features[rows],
            use[rows],
        )


def _scaling(name: str) -> tuple[float, float, float]:
    """(own, shared, centre) of x = v / (own + shared * scale) - centre for a feature."""
    if name in ADAPTIVE:
        return k.SMALLEST_SCALE, 2.0, 0.0
    if name in LEVELS:
        return k.SMALLEST_SCALE, 1.0, 1.0
    return 1.0, 0.0, 0.0

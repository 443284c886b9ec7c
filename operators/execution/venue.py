"""The paper venue: fills orders from the tape by the rules of spec/realism.md sections 2 to 4. A pure stage.

What it assumes, and cannot know:

- An order, a cancel and a report take lognormal times (latency.py). What arrives outside a continuous session of its instrument is
  refused (SESSION_CLOSED); orders in flight wait for nothing.
- A market order takes what the first valid quote at or after its arrival shows; beyond that each further shown size costs
  `slippage_ticks_per_shown` more. Valid: in session, neither locked nor crossed. IOC and FOK take the shown size only.
- A limit that is marketable on arrival takes the shown size at the touch, its rest queues. Where the quote is not valid on arrival
  it takes from the first valid one. What an account took of a shown size stays taken until that side of the quote changes.
- A resting limit has the shown size ahead if it joins at the touch, nobody if it is better than the touch, an unknown queue if it is
  deeper: then the shown size counts when the touch comes to its price. Only a lit regular print on the shown exchange, at its price,
  by the opposite aggressor, uses up the queue: once per print. When another exchange is shown at its price, the order is at the back.
  The shown exchange is that of the order's own side: on consolidated tapes the two sides of a quote mostly differ.
  A touch worse than its price leaves nobody ahead; after a better touch at most the shown size is ahead.
- Fill rules. queue: by what a print leaves after the queue, by a lit regular print at a worse price (trade through), or by a
  valid opposite quote strictly beyond its price, up to what is shown (quote through). touch: by any lit regular print at its price
  or worse, whoever was ahead, or an opposite quote at its price. trade_through: by lit regular prints at a worse price only.
  Always at the order's own price, never more than the print's or the quote's size, less what went to the account's other orders.
- A print without an aggressor is a sale below the middle of the last valid quote, a purchase above, neither at it.
- A stop rests at the venue. It triggers when the opposite touch or a lit regular print is at its stop price or through it, in
  session, and is filled as a market order at the next valid quote strictly later.
- GTC orders outlive a session: inert outside, and in the next one at an unknown place of the queue. DAY orders end with theirs.
- No order outlives a corporate action: what rests expires with it, what was sent before and arrives after is refused.
- A sale of an instrument that cannot be sold short is refused beyond the position that the account's orders filled here.
- Each supported fill is split into reports (splitting.py), which changes no volume. The market does not react to our orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from operators.execution.desk_kernels import Rules
from operators.execution.layout import FILL_RULES, LAST_QUOTE, MARKET, NEVER, PARAMETERS, PHASE_DEAD, VENUE_ORDER
from operators.execution.splitting import split_tables
from operators.execution.venue_pass import VenuePass
from operators.execution.window import TickWindow
from operators.timeline.stage import Migration, State
from schemas.instruments import InstrumentList
from schemas.orders import EXECUTION_REPORT, Reports, Requests
from schemas.ranges import GatedRange
from schemas.settings import Settings
from schemas.ticks import Ints, shard_of

ACCOUNTS: Final = 256


@dataclass(frozen=True, slots=True)
class VenueInput:
    """Slices [lo, hi) of all shards, and the requests sent in them: lo * W <= sent_ts_ns < hi * W, ordered by sent_ts_ns, order_n."""

    lo: int
    hi: int
    gated: tuple[GatedRange, ...]
    requests: Requests


class PaperVenue:
    """The venue of one deployment, for all accounts and symbols.

    State: `at` int, the first slice not yet processed (-1 before the first range); `next_order` int64 (256,), by account;
    `orders` VENUE_ORDER (m,) and `markets` MARKET (k,) by (account, symbol); `quotes` LAST_QUOTE (instruments,).
    """

    version = 1
    migrations: Mapping[int, Migration] = {}

    def __init__(self, instruments: InstrumentList, settings: Settings) -> None:
        v = settings.venue
        self.instruments = instruments
        self.settings = v
        self.slice_ns = settings.slice_ns
        self.shard_of_symbol = [shard_of(symbol, settings.shards) for symbol in instruments.symbols]
        self.symbols_of_shard: dict[int, int] = {}
        self.quoted_of_shard: dict[int, int] = {}
        for i, shard in zip(instruments.instruments, self.shard_of_symbol, strict=True):
            self.symbols_of_shard[shard] = self.symbols_of_shard.get(shard, 0) + 1
            self.quoted_of_shard[shard] = self.quoted_of_shard.get(shard, 0) + int(i.quoted)
        parameters = np.zeros(len(instruments.instruments), PARAMETERS)
        for row, i in zip(parameters, instruments.instruments, strict=True):
            row["slice_ns"] = self.slice_ns
            row["seed"] = v.seed
            row["tick_size"] = i.tick_size
            row["lot_size"] = i.lot_size
            row["slippage_ticks"] = v.slippage_ticks_per_shown
            row["rule"] = FILL_RULES[v.fill_rule]
            row["sized"] = int(i.sized)
            row["price_max"] = i.price_max
            row["size_max"] = i.size_max
            row["tradeable"] = int(i.tradeable)
            row["quoted"] = int(i.quoted)
            row["shortable"] = int(i.shortable)
            row["order_mu"], row["order_sigma"] = v.order_latency_mu, v.order_latency_sigma
            row["cancel_mu"], row["cancel_sigma"] = v.cancel_latency_mu, v.cancel_latency_sigma
            row["report_mu"] = v.report_latency_mu
            row["report_sigma"] = v.report_latency_sigma
            row["scale"] = v.latency_scale
        sessions = [_sessions_and_actions(instruments, i) for i in range(len(parameters))]
        tables = split_tables(v.partial_fill_mean, v.partial_fill_alpha, v.partial_fill_beta)
        self.rules = Rules(
            np.concatenate(sessions) if sessions else np.zeros((0, 3), np.int64),
            np.cumsum([0, *(len(s) for s in sessions)], dtype=np.int64),
            parameters,
            tables.poisson_cdf,
            tables.beta_quantile,
        )

    def start(self) -> State:
        """The venue before the first slice: no orders."""
        return {
            "at": -1,
            "next_order": np.zeros(ACCOUNTS, np.int64),
            "orders": np.zeros(0, VENUE_ORDER),
            "markets": np.zeros(0, MARKET),
            "quotes": np.zeros(len(self.instruments.instruments), LAST_QUOTE),
        }

    def window(self, lo: int, hi: int, gated: Sequence[GatedRange]) -> TickWindow:
        """The ticks of all shards over slices [lo, hi), by reference."""
        return TickWindow(lo, hi, gated, self.shard_of_symbol, self.symbols_of_shard)

    def open(self, state: State, window: TickWindow, acks_stop: bool = True) -> VenuePass:
        """Starts to work through a window; `VenuePass` says how. The state belongs to the pass until its `close`."""
        return VenuePass(self, state, window, acks_stop)

    def idle(self, state: State) -> bool:
        """Whether nothing can be reported any more unless something new is requested: every order is over, every cancel answered."""
        orders = state["orders"]
        return not bool(np.any((orders["phase"] != PHASE_DEAD) | (orders["cancel_ns"] < NEVER)))

    def step(self, state: State, x: VenueInput) -> tuple[State, Reports]:
        """All of a range at once, where the requests are already known (a venue that is a flow of its own, tests)."""
        work = self.open(state, self.window(x.lo, x.hi, x.gated))
        reports: list[Reports] = []
        sent = x.requests["sent_ts_ns"] // self.slice_ns
        if np.any(np.diff(sent) < 0) or (len(sent) and (sent[0] < x.lo or sent[-1] >= x.hi)):
            msg = f"requests must be sent in slices [{x.lo}, {x.hi}) in order of time, given slices {sent.tolist()[:8]}"
            raise ValueError(msg)
        for k in np.unique(sent):
            reports += work.run(int(k))
            work.submit(x.requests[sent == k])
        reports += work.run(x.hi)
        return work.close(), np.concatenate(reports) if reports else np.zeros(0, EXECUTION_REPORT)


def _sessions_and_actions(instruments: InstrumentList, symbol: int) -> Ints:
    """Open, close, and the first corporate action at or after the close (NEVER without one) of a symbol's sessions, int64 (k, 3)."""
    sessions = instruments.session_array(symbol)
    actions = np.array([*(a.ts_ns for a in instruments.actions_of(symbol)), NEVER], np.int64)
    return np.column_stack([sessions, actions[np.minimum(np.searchsorted(actions, sessions[:, 1]), len(actions) - 1)]])

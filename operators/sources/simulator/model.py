"""The market simulator's equations and parameters: an event-driven top-of-book market with a hidden order flow.

Symbol j lives in event time t (milliseconds from the start of a phase; a phase is a pre-market or a session).

Arrivals (Hawkes process with an exponential kernel; A. G. Hawkes, Biometrika 58, 1971):
    Lambda(t) = phi mu act[R(t)] + h(t),   dh = -h dt / tau_h,   h += n / tau_h at every event
Pressure (Ehrenfest chain of four spins, so that it is a discrete Ornstein-Uhlenbeck process with closed transition rates):
    M in {-2..2},  M -> M + 1 at rate nu (2 - M),  M -> M - 1 at rate nu (2 + M);   nobody sees it
Regime, common to all symbols: R in {calm, trending, reverting}, exponential stays, next one drawn from the other two.
An event is a change of the mid with probability m(spread), else a trade with probability b, else a quote update.
    trade sign    P(buy)          = s(kappa M)                            s(x) = 1 / (1 + exp(-x))
    quote update  P(leans to bid) = s(theta lean[R] M - rho I)            I = (q_bid - q_ask) / (q_bid + q_ask)
    mid change    P(up)           = s(edge (flow[R] M + lead c(L) - back[R] c(D)))      c(x) = x / (1 + |x|)
        L = sum over the leader's mid changes of direction * exp(-(t - t_i - lag) / tau_lead), from lag after each on
        D = sum over the symbol's own mid changes of direction * exp(-(t - t_i) / tau_back)
So the price leans to where a flow pushes that is seen only through the signs of past trades; the shown imbalance says the
same in a calm market, hardly anything in a trending one and the opposite in a reverting one (orders shown to be cancelled);
followers lag the leader. With edge = 0 each change of the mid is a fair coin whatever has been seen: the null tape.

How a change is carried out (up; down is its mirror image), with s the spread in ticks:
    s = 0 (locked)      the ask steps up
    s = 1               ask and bid step up together (probability full), the bid locks the ask (lock), or the ask is used up
    s > 1               the bid steps up with probability 1/2 + slope (s - rest), clipped to [.03, .97]; else the ask is used
                        up; by two ticks at once with probability full
A side that is used up goes, with probability sweep, by trades printed in the same millisecond (a resting order is filled there
just as the price moves through it), else by cancels; what stands behind it is drawn anew.

What it cannot know: one book, no depth behind the touch, no hidden orders, one leader, and no reaction to our own orders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.instruments import ConditionTable, FeeSchedule, Instrument, InstrumentList

CALM: Final = 0
TRENDING: Final = 1
REVERTING: Final = 2
REGIME_NAMES: Final = ("calm", "trending", "reverting")
LEVELS: Final = 5
"""Values of the pressure M: -2, -1, 0, 1, 2."""

PRICE_EXPONENT: Final = 4
TICK_SIZE: Final = 100
LOT: Final = 100
OFF_EXCHANGE: Final = ord("D")

DAY_NS: Final = 86_400_000_000_000
FIRST_OPEN_NS: Final = 1_704_724_200_000_000_000
"""Monday 2024-01-08 14:30 UTC; sessions follow on weekdays."""
PRE_MARKET_MS: Final = 120_000
SESSION_MS: Final = 3_600_000

OPENING_PRINT: Final = 0x40
CLOSING_PRINT: Final = 0x80
SPECIAL_PRINT: Final = 0x200
EXTENDED_HOURS: Final = 0x2000
ODD_CONDITION: Final = 0x20

SYMBOL: Final = np.dtype(
    [
        ("mu", "f8"),
        ("branching", "f8"),
        ("tau_h_ms", "f8"),
        ("nu", "f8"),
        ("kappa", "f8"),
        ("theta", "f8"),
        ("rho", "f8"),
        ("lead", "f8"),
        ("lag_ms", "f8"),
        ("trade", "f8"),
        ("again", "f8"),
        ("move_locked", "f8"),
        ("move_one", "f8"),
        ("move_wide", "f8"),
        ("full", "f8"),
        ("lock", "f8"),
        ("slope", "f8"),
        ("rest", "f8"),
        ("sweep", "f8"),
        ("queue", "f8"),
        ("queue_step", "f8"),
        ("trade_lots", "f8"),
        ("reroute", "f8"),
        ("start_ticks", "i8"),
    ]
)
"""Parameters of one symbol.

| field | unit | meaning |
| --- | --- | --- |
| mu | 1/ms | base rate of events, times the regime's activity |
| branching, tau_h_ms | 1, ms | events that one event sets off on average; how long it does so |
| nu | 1/ms | flip rate of one spin of the pressure; the pressure forgets with time constant 1 / (2 nu) |
| kappa | 1 | log-odds of a buy for each unit of pressure |
| theta, rho | 1 | log-odds of a quote update leaning to the bid: by pressure, against the imbalance that is there |
| lead, lag_ms | 1, ms | weight of the leader's moves, and their delay (0 weight: the leader itself) |
| trade | 1 | share of trades among events that leave the mid |
| again | 1 | chance of one more quote update in the same millisecond |
| move_locked, move_one, move_wide | 1 | chance that an event changes the mid, at spread 0, 1, more |
| full, lock | 1 | chance that the mid moves by a whole tick at once; at spread 1, that a quote locks |
| slope, rest | 1/tick, ticks | how strongly, and towards what, the spread narrows |
| sweep | 1 | chance that a used-up side goes by trades |
| queue, queue_step, trade_lots | lots | typical queue; size of an update; mean size of a trade |
| reroute | 1 | chance that a quote update shows another exchange |
| start_ticks | ticks | price at the start |
"""

_THICK = {
    "rate": 7.5, "branching": 0.5, "tau_h_ms": 700.0, "memory_s": 40.0, "kappa": 0.75, "theta": 0.1, "rho": 0.5, "lead": 1.2,
    "trade": 0.36, "again": 0.5, "move_locked": 0.05, "move_one": 0.0024, "move_wide": 0.35, "full": 0.16, "lock": 0.35, "slope": 0.42,
    "rest": 1.0, "sweep": 0.7, "queue": 620.0, "queue_step": 42.0, "trade_lots": 5.0, "reroute": 0.025,
}  # fmt: skip
_MEDIUM = {
    "rate": 13.5, "branching": 0.5, "tau_h_ms": 500.0, "memory_s": 22.0, "kappa": 1.0, "theta": 0.1, "rho": 0.5, "lead": 1.2,
    "trade": 0.08, "again": 0.5, "move_locked": 0.08, "move_one": 0.014, "move_wide": 0.35, "full": 0.45, "lock": 0.2, "slope": 0.42,
    "rest": 1.0, "sweep": 0.65, "queue": 14.0, "queue_step": 1.6, "trade_lots": 1.6, "reroute": 0.15,
}  # fmt: skip
_THIN = {
    "rate": 3.6, "branching": 0.5, "tau_h_ms": 300.0, "memory_s": 16.0, "kappa": 0.9, "theta": 0.28, "rho": 1.3, "lead": 1.2,
    "trade": 0.42, "again": 0.2, "move_locked": 0.35, "move_one": 0.16, "move_wide": 0.16, "full": 0.25, "lock": 0.08, "slope": 0.12,
    "rest": 3.0, "sweep": 0.6, "queue": 3.0, "queue_step": 1.0, "trade_lots": 1.2, "reroute": 0.5,
}  # fmt: skip
PROFILES: Final = {"medium": _MEDIUM, "thick": _THICK, "thin": _THIN}
"""Like AIG, BAC and IBM in October 2013; symbol i has profile i modulo 3 in this order, and symbol 0 leads."""

Parameters = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Market:
    """What is common to all symbols. Regime tuples are (calm, trending, reverting).

    | field | unit | meaning |
    | --- | --- | --- |
    | activity | 1 | factor of the base rate |
    | lean | 1 | sign and strength with which the shown queues follow the pressure |
    | flow | 1 | log-odds of an up move for each unit of pressure |
    | back | 1 | weight against the symbol's own last moves |
    | stay_s | s | mean stay |
    | tau_lead_ms, tau_back_ms | ms | memory of L and D |
    | pre_market | 1 | phi before the open (1 in the session) |
    | pre_market_spread | ticks | what the spread tends to there |
    | off_exchange | 1 | share of prints that go to the trade reporting facility |
    | shown_share | 1 | share of lit prints outside sweeps that are on the shown exchange |
    | late_share, late_mean_ms | 1, ms | share of off-exchange prints reported late, and by how much |
    | gap_share | 1 | share of rows before which venue numbers are missing |
    | special_share | 1 | share of prints whose condition bars them from filling orders |
    """

    activity: tuple[float, float, float] = (0.75, 1.0, 1.5)
    lean: tuple[float, float, float] = (1.5, 0.3, -1.0)
    flow: tuple[float, float, float] = (1.05, 1.2, 0.95)
    back: tuple[float, float, float] = (0.0, 0.0, 0.6)
    stay_s: tuple[float, float, float] = (150.0, 120.0, 90.0)
    tau_lead_ms: float = 1500.0
    tau_back_ms: float = 3000.0
    pre_market: float = 0.05
    pre_market_spread: float = 40.0
    off_exchange: float = 0.32
    shown_share: float = 0.3
    late_share: float = 0.02
    late_mean_ms: float = 400.0
    gap_share: float = 0.00002
    special_share: float = 0.002


MARKET: Final = Market()


def symbol_names(symbols: int) -> tuple[str, ...]:
    """Names, sorted: SIM000, SIM001, ..."""
    return tuple(f"SIM{i:03d}" for i in range(symbols))


def parameters(symbols: int) -> Parameters:
    """Parameters of each symbol, dtype SYMBOL, shape (symbols,): its profile, spread out a little by its place."""
    names = tuple(PROFILES)
    table = np.zeros(symbols, SYMBOL)
    for i in range(symbols):
        profile = PROFILES[names[i % len(names)]]
        row = table[i]
        spread_out = 0.85 + 0.3 * ((i * 7) % 16) / 15.0
        for field in ("branching", "tau_h_ms", "kappa", "theta", "rho", "lead", "trade", "again", "move_locked", "move_one", "move_wide"):
            row[field] = profile[field]
        for field in ("full", "lock", "slope", "rest", "sweep", "queue", "queue_step", "trade_lots", "reroute"):
            row[field] = profile[field]
        row["mu"] = profile["rate"] * spread_out * (1.0 - profile["branching"]) / 1000.0
        row["nu"] = 1.0 / (2000.0 * profile["memory_s"] * (1.9 - 0.9 * spread_out))
        row["lag_ms"] = 50.0 + 450.0 * ((i * 11) % 16) / 15.0
        row["start_ticks"] = 2000 + ((i * 5) % 16) * 850
        if i == 0:
            row["lead"] = 0.0
    return table


def expected_rate(table: Parameters) -> float:
    """A low estimate of ticks per second over all symbols in a session."""
    return 1000.0 * math.fsum(row["mu"] / (1.0 - row["branching"]) for row in table)


def session_plan(count: int) -> tuple[tuple[int, int], ...]:
    """Open and close of the first `count` sessions, ns UTC; pre-market runs PRE_MARKET_MS before each open."""
    opens = (FIRST_OPEN_NS + (n // 5 * 7 + n % 5) * DAY_NS for n in range(count))
    return tuple((o, o + SESSION_MS * 1_000_000) for o in opens)


def instruments(symbols: int, sessions: int) -> InstrumentList:
    """The tape's instruments: exponent 4, tick one cent, lots of 100 shares, calendar `sim` with `sessions` sessions."""
    conditions = ConditionTable(
        name="sim",
        no_fill=OPENING_PRINT | CLOSING_PRINT | SPECIAL_PRINT | EXTENDED_HOURS,
        no_volume=SPECIAL_PRINT,
        no_features=OPENING_PRINT | CLOSING_PRINT | SPECIAL_PRINT,
        off_exchange=chr(OFF_EXCHANGE),
    )
    fees = FeeSchedule(
        name="sim-per-share",
        kind="per_share",
        per_share=Decimal("0.0035"),
        minimum_per_order=Decimal("0.35"),
        maximum_fraction=Decimal("0.01"),
        sec_fee_rate=Decimal("0.0000278"),
        taf_per_share=Decimal("0.000166"),
    )
    names = symbol_names(symbols)
    return InstrumentList(
        instruments=tuple(
            Instrument(
                symbol=name,
                price_exponent=PRICE_EXPONENT,
                size_exponent=0,
                tick_size=TICK_SIZE,
                lot_size=1,
                venue="SIM",
                calendar="sim",
                conditions=conditions,
                fees=fees,
                leader=None if i == 0 else names[0],
            )
            for i, name in enumerate(names)
        ),
        sessions={"sim": session_plan(sessions)},
    )

"""nautilus_trader over the same ticks: its backtest engine with a strategy that is told every quote and trade and does nothing.

Installed by `pip install --group peers`, never by `make test`. Its objects are made before the clock starts, as by its users who keep
them in its own catalogue; ours are read from the tape while it runs, decided on, and stored.
"""

from __future__ import annotations

import importlib.metadata
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from operators.sources.tape import Tape
from schemas.ticks import QUOTE, TRADE, Ticks

TICKS = 300_000
"""Of the tape's beginning: an object for each is kept in memory."""
PLACES = 4


def installed() -> str | None:
    """The version of nautilus_trader that is installed here; None without it."""
    try:
        return importlib.metadata.version("nautilus_trader")
    except importlib.metadata.PackageNotFoundError:
        return None


def ticks_per_cpu_s(tape: Path) -> float:
    """Ticks that its engine gets through in a second of CPU time, all threads. To be called in a process of its own.

    Raises RuntimeError where it did not take every tick.
    """
    from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
    from nautilus_trader.config import LoggingConfig
    from nautilus_trader.model.currencies import USD
    from nautilus_trader.model.enums import AccountType, OmsType
    from nautilus_trader.model.identifiers import Venue
    from nautilus_trader.model.objects import Money

    opened = Tape.open(tape)
    ticks = np.concatenate([opened.read(p, 0, min(opened.rows(p), TICKS)) for p in range(opened.partitions)])
    ticks = ticks[np.argsort(ticks["ts_ns"], kind="stable")][:TICKS]
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    venue = Venue("SIM")
    engine.add_venue(venue, OmsType.NETTING, AccountType.CASH, [Money(1_000_000, USD)], base_currency=USD)
    told: list[Any] = []
    made: list[Any] = []
    for s in np.unique(ticks["symbol"]).tolist():
        listed = opened.instruments.instruments[s]
        instrument = _equity(listed.symbol, venue, USD)
        engine.add_instrument(instrument)
        told.append(instrument.id)
        for objects in _objects(ticks[ticks["symbol"] == s], instrument, float(10.0**-listed.price_exponent)):
            made += objects
    engine.add_data(sorted(made, key=lambda tick: tick.ts_init), validate=False, sort=False)
    engine.add_strategy(_silent(told))
    began = time.process_time()
    engine.run()
    spent = time.process_time() - began
    if engine.iteration != len(made):
        msg = f"nautilus_trader went through {engine.iteration} of {len(made)} ticks"
        raise RuntimeError(msg)
    return len(made) / spent


def _equity(symbol: str, venue: Any, currency: Any) -> Any:
    from nautilus_trader.model.identifiers import InstrumentId, Symbol
    from nautilus_trader.model.instruments import Equity
    from nautilus_trader.model.objects import Price, Quantity

    return Equity(
        instrument_id=InstrumentId(Symbol(symbol), venue),
        raw_symbol=Symbol(symbol),
        currency=currency,
        price_precision=PLACES,
        price_increment=Price.from_str(str(Decimal(1).scaleb(-PLACES))),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
    )


def _objects(ticks: Ticks, instrument: Any, unit: float) -> list[list[Any]]:
    """Its quotes and its trades of one symbol's ticks; `unit`: the price of one step of the tape's fixed point."""
    import pandas as pd
    from nautilus_trader.persistence.wranglers import QuoteTickDataWrangler, TradeTickDataWrangler

    quotes = ticks[(ticks["kind"] == QUOTE) & (ticks["price"] > 0) & (ticks["ask"] > 0)]
    trades = ticks[(ticks["kind"] == TRADE) & (ticks["size"] > 0)]
    found = []
    if quotes.size:
        sides = {"bid_price": quotes["price"] * unit, "ask_price": quotes["ask"] * unit}
        sizes = {"bid_size": quotes["size"].astype(float), "ask_size": quotes["ask_size"].astype(float)}
        frame = pd.DataFrame({**sides, **sizes}, index=pd.to_datetime(quotes["ts_ns"], utc=True, unit="ns"))
        found.append(QuoteTickDataWrangler(instrument).process(frame))
    if trades.size:
        columns = {
            "price": trades["price"] * unit,
            "quantity": trades["size"].astype(float),
            "trade_id": np.arange(trades.size).astype(str),
        }
        frame = pd.DataFrame(columns, index=pd.to_datetime(trades["ts_ns"], utc=True, unit="ns"))
        found.append(TradeTickDataWrangler(instrument).process(frame))
    return found


def _silent(instruments: list[Any]) -> Any:
    from nautilus_trader.trading.strategy import Strategy

    class Silent(Strategy):  # type: ignore[misc]
        """Hears every quote and trade, and does nothing."""

        def on_start(self) -> None:
            for instrument in instruments:
                self.subscribe_quote_ticks(instrument)
                self.subscribe_trade_ticks(instrument)

        def on_quote_tick(self, tick: Any) -> None:
            """Nothing."""

        def on_trade_tick(self, tick: Any) -> None:
            """Nothing."""

    return Silent()

"""The sections of the settings, one frozen model each. Units stand in the names; defaults are the safe choice."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GateSettings(Section):
    """Quality gate (operators/quality)."""

    crossed: Literal["dead_letter", "flag"] = "dead_letter"
    suspicious: Literal["dead_letter", "pass"] = "dead_letter"
    mad_window: int = Field(63, ge=5, le=255, description="prices in the rolling median window, odd")
    mad_factor: int = Field(12, ge=1, le=1000, description="times the median absolute deviation beyond which a price is an outlier")
    mad_floor_ticks: int = Field(25, ge=1, description="deviation in price ticks that is never an outlier by MAD")
    mad_floor_bps: int = Field(10, ge=0, le=1000, description="deviation in basis points of the last price that is never an outlier by MAD")
    percent_from_last: int = Field(10, ge=1, le=100, description="move from the last accepted price that is never believed at once, %")
    outlier_confirmations: int = Field(3, ge=1, description="consecutive refused prices near each other after which they are the new level")
    timely_ms: int = Field(1000, ge=1, description="lateness at which a tick counts as worth nothing in the quality score's timeliness")

    @field_validator("mad_window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            msg = f"expected an odd number of prices so that the median is one of them, given {value}"
            raise ValueError(msg)
        return value


class TimeGuardSettings(Section):
    """Times that cannot be true (operators/timeline)."""

    jump_s: int = Field(300, ge=1, description="a jump ahead of more than this needs confirming ticks")
    confirmations: int = Field(3, ge=1, description="ticks that must follow without contradicting the jump")


class FeatureSettings(Section):
    """Features and their online scaling (operators/features)."""

    fast_halflife_s: float = Field(1.0, gt=0, le=3600)
    slow_halflife_s: float = Field(30.0, gt=0, le=86_400)
    scale_halflife_ticks: int = Field(5000, ge=10, description="half-life, in ticks of a symbol, of each feature's running mean size")
    gap_reset_s: float = Field(1800.0, gt=0, description="silence of a symbol after which its prices start anew (next session, halt)")


class SignalSettings(Section):
    """From score to action (operators/decoding)."""

    enter_share: Literal["0.1", "0.2", "0.5", "1.0"] = Field("0.1", description="threshold (by share of spells) past which a signal enters")
    leave_share: Literal["0.1", "0.2", "0.5", "1.0"] = Field("0.5", description="opposite confidence past this leaves a position")
    min_interval_ms: int = Field(1000, ge=0, description="event time between two changes of a symbol's action")


class AccountSettings(Section):
    """The account whose book is kept."""

    id: str = Field("main", pattern=r"^[A-Za-z0-9_.-]{1,32}$")
    currency: str = "USD"
    capital: Decimal = Decimal(100_000)


class RiskSettings(Section):
    """Limits checked before every order (operators/risk)."""

    max_position_fraction: Decimal = Field(Decimal("0.02"), gt=0, le=1)
    max_gross_fraction: Decimal = Field(Decimal("0.5"), gt=0, le=10)
    max_drawdown: Decimal = Field(Decimal("0.15"), gt=0, lt=1, description="kill switch: everything is liquidated, nothing new")
    max_daily_loss_fraction: Decimal = Field(Decimal("0.02"), gt=0, lt=1)
    stop_spreads: int = Field(10, ge=1, description="distance of the stop from the entry, in spreads at entry")
    stop_min_ticks: int = Field(5, ge=1)
    max_open_orders: int = Field(64, ge=1)


class BookSettings(Section):
    """How the book turns signals into orders (operators/book)."""

    entry: Literal["passive", "market"] = "passive"
    holding_s: float = Field(60.0, gt=0, description="a position is left after this much event time")
    entry_timeout_s: float = Field(5.0, gt=0, description="a passive entry that has not filled is cancelled after this")
    exit_timeout_s: float = Field(5.0, gt=0, description="a passive exit that has not filled is replaced by a market order")
    flat_before_close_s: float = Field(300.0, ge=0, description="positions are closed this long before the session ends")
    hold_overnight: bool = False
    feed_delay_ms: int = Field(0, ge=0)


class VenueSettings(Section):
    """The paper venue (operators/execution). Latencies are lognormal: mu and sigma of the logarithm of milliseconds."""

    seed: int = Field(20131007, ge=0, lt=2**63)
    fill_rule: Literal["queue", "touch", "trade_through"] = "queue"
    latency_scale: float = Field(1.0, ge=0, le=1000, description="multiplies every latency; 0: a message arrives when it is sent")
    order_latency_mu: float = Field(3.9, ge=-20, le=12)
    order_latency_sigma: float = Field(0.3, ge=0, le=3)
    cancel_latency_mu: float = Field(3.9, ge=-20, le=12)
    cancel_latency_sigma: float = Field(0.3, ge=0, le=3)
    report_latency_mu: float = Field(3.2, ge=-20, le=12)
    report_latency_sigma: float = Field(0.3, ge=0, le=3)
    partial_fill_mean: float = Field(3.0, gt=0, le=8, description="Poisson mean of the reports that a supported fill is split into")
    partial_fill_alpha: float = Field(2.0, ge=0.5, le=50)
    partial_fill_beta: float = Field(5.0, ge=0.5, le=50)
    slippage_ticks_per_shown: int = Field(1, ge=0, description="market order beyond the shown size pays this many ticks per shown size")


class LakeSettings(Section):
    """The local lake (operators/sinks)."""

    flush_rows: int = Field(250_000, ge=1, description="buffered rows of a table that are committed without waiting for the epoch's end")
    target_rows_per_file: int = Field(1_000_000, ge=1000, description="small files are merged up to about this many rows")
    compact_every_commits: int = Field(24, ge=2, description="commits of a table after which its small files may be merged")


class ReplaySettings(Section):
    """What a replay reads and from when it decides."""

    symbols: tuple[str, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    warm_up_ns: int = 0

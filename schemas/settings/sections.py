"""The sections of the settings, one frozen model each. Units stand in the names; defaults are the safe choice."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

OWNED_BY_SPIKETAPE: Final = {
    "bootstrap.servers": "kafka.bootstrap_servers",
    "metadata.broker.list": "kafka.bootstrap_servers",
    "client.id": "deployment",
    "compression.codec": "kafka.compression",
    "compression.type": "kafka.compression",
    "message.max.bytes": "kafka.max_message_bytes",
    "message.timeout.ms": "kafka.outage_s",
    "delivery.timeout.ms": "kafka.outage_s",
    "transaction.timeout.ms": "kafka.transaction_timeout_s",
    "transactional.id": "deployment",
    "acks": "",
    "request.required.acks": "",
    "auto.offset.reset": "",
    "auto.commit.enable": "",
    "delivery.report.only.error": "",
    "enable.auto.commit": "",
    "enable.auto.offset.store": "",
    "enable.idempotence": "",
    "enable.partition.eof": "",
    "group.id": "",
    "isolation.level": "",
}
"""librdkafka settings that may not be passed through, with the setting to use (empty: delivery rests on it, so there is none)."""
TOKEN_FROM: Final = frozenset(("sasl.oauthbearer.method", "enable.sasl.oauthbearer.unsecure.jwt"))
"""Settings by which librdkafka gets an OAuth token (`oidc`, `true`). Without any it would wait for a token and say nothing of it."""


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


class HealthSettings(Section):
    """Health endpoint, log and watchdog of a long-running process (flows/live)."""

    enabled: bool = Field(True, description="whether /health, /ready and /metrics are served; the watchdog runs either way")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; there is no password, so not a public one")
    port: int = Field(0, ge=0, le=65_535, description="port to listen on; 0: a free one, told in the log and the run folder's health.json")
    log_level: Literal["debug", "info", "warning"] = Field("info", description="least level of the lines in the log on standard error")
    stall_s: float = Field(60.0, ge=0, le=86_400, description="seconds without progress, though input is there, that end it; 0: never")


class ReplaySettings(Section):
    """What a replay reads and from when it decides."""

    symbols: tuple[str, ...] = ()
    from_ns: int | None = None
    to_ns: int | None = None
    warm_up_ns: int = 0


class KafkaSettings(Section):
    """How the Kafka broker is reached, and how topics and transactions are made. No part of a run's identity."""

    bootstrap_servers: str = Field("localhost:9092", min_length=1, description="host:port of one or more brokers, separated by commas")
    topic_prefix: str = Field("", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="stands before the name of every topic")
    librdkafka: dict[str, SecretStr] = Field(
        {}, description="any setting of librdkafka by its own name, such as `security.protocol` or `sasl.password`; never printed"
    )
    transaction_ms: int = Field(
        50,
        ge=0,
        le=60_000,
        description="commits are about this far apart; what follows a pause, and turns of book and venue, at once; 0: every write at once",
    )
    transaction_rows: int = Field(1000, ge=1, le=100_000, description="messages in an open transaction after which it is committed")
    transaction_timeout_s: float = Field(
        60.0, ge=1, le=900, description="the broker aborts what a dead process left open after this; readers wait for it until then"
    )
    compression: Literal["none", "lz4", "zstd", "snappy", "gzip"] = Field("lz4", description="of message batches, by the producer")
    max_message_bytes: int = Field(8 << 20, ge=1024, le=10**9, description="largest message; a larger one is an error that names its row")
    replication: int = Field(1, ge=1, le=32, description="copies of each topic; writes wait for all but one of them (for 1 and 2: for one)")
    tick_retention_h: int = Field(168, ge=0, description="hours that `ticks` are kept; 0: for ever")
    turn_retention_h: int = Field(168, ge=0, description="hours that `slices`, `requests` and `reports` are kept; 0: for ever")
    row_retention_h: int = Field(0, ge=0, description="hours that the topics of rows are kept; 0: for ever, as `verify --kafka` needs")
    answer_timeout_s: float = Field(15.0, gt=0, le=600, description="the broker has this long to answer one request")
    outage_s: float = Field(300.0, ge=0, description="a broker that is away is waited for this long; then the process ends with an error")
    retry_first_ms: int = Field(100, ge=1, le=60_000, description="pause before the first attempt of what failed; it doubles each time")
    retry_most_ms: int = Field(5000, ge=1, le=600_000, description="longest pause between two attempts")

    @field_validator("librdkafka", mode="before")
    @classmethod
    def _by_own_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        flat = _flat(value)
        for name in sorted(OWNED_BY_SPIKETAPE.keys() & flat.keys()):
            use = OWNED_BY_SPIKETAPE[name]
            msg = f"{name} cannot be passed through: " + (f"use the setting {use}" if use else "exactly-once delivery rests on it")
            raise ValueError(msg)
        if "OAUTHBEARER" in (flat.get("sasl.mechanism"), flat.get("sasl.mechanisms")) and not flat.keys() & TOKEN_FROM:
            msg = f"sasl.mechanism OAUTHBEARER has nowhere to get a token from: set one of {', '.join(sorted(TOKEN_FROM))}"
            raise ValueError(msg)
        return flat

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self.topic_prefix + name

    def client(self, own: Mapping[str, Any] | None = None, otherwise: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Settings for a librdkafka client, secrets in plain: to be handed to a client, never to a log, an error or a file.

        `own`: what the client must have. Nothing that is passed through is overwritten silently: these are names in OWNED_BY_SPIKETAPE,
        or functions (LookupError for others). `otherwise`: what it has where nothing else is passed through.
        """
        for name, value in (own or {}).items():
            if name not in OWNED_BY_SPIKETAPE and not callable(value):
                raise LookupError(f"{name} may be passed through: it must stand in OWNED_BY_SPIKETAPE to be overwritten")
        passed = {name: value.get_secret_value() for name, value in self.librdkafka.items()}
        return {**(otherwise or {}), "bootstrap.servers": self.bootstrap_servers, **passed, **(own or {})}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"sasl": {"password": x}}` as `{"sasl.password": x}`, so that variables and `--set` can name librdkafka's settings."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = (
                value if isinstance(value, str | SecretStr) else str(value).lower() if isinstance(value, bool) else str(value)
            )
    return out


class InfluxSettings(Section):
    """How InfluxDB is reached, what is kept there, and what waits on disk while it is away. No part of a run's identity."""

    url: str = Field(
        "http://localhost:8086", pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$", description="address of the server, http or https"
    )
    token: SecretStr = Field(
        SecretStr(""), description="may write to the bucket; for `influx apply` and replays the owner's; never printed"
    )
    org: str = Field("spiketape", min_length=1, description="organisation that owns the buckets")
    bucket: str = Field(
        "spiketape", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="bucket of live data; others are named after it"
    )
    replay_bucket: str = Field(
        "{bucket}-replay-{run}",
        pattern=r"^[^{}]*(\{(bucket|run)\}[^{}]*)*$",
        description="bucket of a replay; {run}: its run folder's name",
    )
    retention_days: int = Field(
        0, ge=0, le=36_500, description="days of event time that live data are kept; 0: for ever, as recorded tapes need"
    )
    downsampled_days: int = Field(0, ge=0, le=36_500, description="days that the 1 s, 1 min and 1 h buckets are kept; 0: for ever")
    batch_lines: int = Field(5000, ge=5000, le=10_000, description="lines that are sent in one request when that many wait")
    gzip: bool = Field(True, description="whether requests are compressed")
    timeout_s: float = Field(10.0, gt=0, le=600, description="the server has this long to answer one request")
    retry_first_ms: int = Field(200, ge=1, le=60_000, description="pause before what failed is sent again; it doubles each time")
    retry_most_ms: int = Field(30_000, ge=1, le=600_000, description="longest pause between two attempts, unless the server asks for more")
    spool_max_mb: int = Field(1024, ge=1, le=10**7, description="MiB that may wait on disk; when it is full the flow waits")
    spool_spare_mb: int = Field(
        256, ge=0, le=10**7, description="MiB of its disk that the spool leaves free, for the recovery store beside it; else the flow waits"
    )
    drop_when_full: bool = Field(False, description="whether points are dropped, and counted, instead of waiting while the spool is full")
    ca_file: str = Field("", description="file of certificates to trust for https; empty: the system's")


class ControlSettings(Section):
    """Signed commands to the account (schemas/control.py)."""

    key: SecretStr = Field(
        SecretStr(""), description="secret that control messages are signed with, 16 bytes or more; empty: every message is refused"
    )

"""A deployment, rows and ranges made by seeded generators, a writer for a server, and what the server holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from influxdb_client import BucketRetentionRules, InfluxDBClient

from benchmarks.gate import Gate
from infra.influx.answers import Row, parsed, time_ns
from operators.sinks.influx import Writer
from operators.timeline.live import Live
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.settings import Settings, load_settings
from schemas.tables import STATISTICS, TABLES, OrderState, Rows
from schemas.ticks import shard_key, shard_of

NEURONS = {"input": 64, "hidden": 128}
CODEBOOK = {"rule": {1: "REDUCES_RISK", 9: "STOP_MISSING"}}
ACCOUNT_TABLES = ("verdicts", "orders", "executions", "positions", "equity")
POINT_TABLES = ("signals", *ACCOUNT_TABLES)
FIXED = ("quantity", "filled", "price", "stop_price", "queue_ahead", "largest_passing")
CODES = {"action": (-1, 0, 1), "side": (-1, 1), "state": tuple(range(1, 11)), "approved": (0, 1), "rule": (1, 9, 777)}


def made_instruments() -> InstrumentList:
    """Four instruments with different exponents, two of them of one shard where there are two shards."""
    made = [
        Instrument(symbol="AAPL", price_exponent=4, size_exponent=0, tick_size=100, lot_size=1),
        Instrument(symbol="BTC/USDT", price_exponent=2, size_exponent=8, tick_size=1, lot_size=1000),
        Instrument(symbol="EURUSD", price_exponent=10, size_exponent=0, tick_size=1, lot_size=1),
        Instrument(symbol="MSFT", price_exponent=4, size_exponent=0, tick_size=100, lot_size=1),
    ]
    return InstrumentList(instruments=tuple(made))


@pytest.fixture(scope="session")
def instruments() -> InstrumentList:
    return made_instruments()


def made_rows(table: str, key: str, first: int, count: int, symbols: int, seed: int = 0) -> Rows:
    """Rows of a table, the same for a row wherever the piece begins: wild values, many equal times, some that go back."""
    a = np.zeros(count, TABLES[table])
    for i in range(count):
        n = first + i
        rng = np.random.default_rng([seed, n, len(table), sum(key.encode())])
        for name in TABLES[table].names or ():
            if name.endswith(("_e6", "_e8", "_e10")) or name in FIXED:
                a[name][i] = int(rng.integers(-(2**63), 2**63 - 1)) >> int(rng.integers(0, 63))
            elif name in CODES:
                a[name][i] = rng.choice(CODES[name])
        a["n"][i] = n
        a["slice"][i] = 13_000_000_000 + n // 5
        a["ts_ns"][i] = a["slice"][i] * 100_000_000 + int(rng.choice([0, 0, 0, 1, 2, 40_000_000]))
        if "order_n" in (TABLES[table].names or ()):
            a["order_n"][i] = n // 3
        if "symbol" in (TABLES[table].names or ()):
            a["symbol"][i] = rng.integers(0, symbols) if table in ACCOUNT_TABLES else seed % symbols
            if table == "verdicts" and rng.integers(0, 5) == 0:
                a["symbol"][i] = 2**32 - 1
    return Rows(table, key, a)


def made_ranges(instruments: InstrumentList, settings: Settings, slices: int, seed: int) -> list[SliceOut]:
    """What each shard says about so many slices, one range a shard, then the final mark; some slices are silent."""
    rng = np.random.default_rng(seed)
    first = 1_381_150_000 * 10**9 // settings.slice_ns + 7
    outs = []
    for shard in sorted({shard_of(s, settings.shards) for s in instruments.symbols}):
        owned = [i for i, s in enumerate(instruments.symbols) if shard_of(s, settings.shards) == shard]
        quotes, statistics = [], []
        for k in range(first, first + slices):
            said = [i for i in owned if rng.random() < 0.2]
            for i in said:
                bid = int(rng.integers(1, 10**8))
                sizes = rng.integers(0, 10**6, 2).tolist()
                quotes.append((k, k * settings.slice_ns + i, bid, bid + int(rng.integers(-5, 200)), *sizes, i, 255, 0, 0))
            if said or rng.random() < 0.1:
                counts = rng.integers(0, 10_000, 6).tolist()
                statistics.append((len(statistics), k, (k + 1) * settings.slice_ns, *counts))
        rows = (Rows("statistics", shard_key(shard), np.array(statistics, STATISTICS)),)
        quote_array = np.array(quotes, SLICE_QUOTE)
        outs.append(SliceOut(shard, first, first + slices, np.empty(0, TABLES["signals"]), quote_array, rows, None))
    return outs


def cut_up(out: SliceOut, at: list[int]) -> list[SliceOut]:
    """A range in pieces."""
    pieces = []
    rest: SliceOut | None = out
    for k in sorted(at):
        if rest is None:
            break
        piece, rest = rest.cut(k)
        if piece is not None:
            pieces.append(piece)
    return [*pieces, *([] if rest is None else [rest])]


def end_of(out: SliceOut) -> SliceOut:
    """The final mark of a shard."""
    none = np.empty(0, TABLES["signals"])
    return SliceOut(out.shard, out.hi, 2**62, none, np.empty(0, SLICE_QUOTE), (), None)


def as_float(value: int, places: int) -> float:
    """The double that is nearest to an integer row's decimal."""
    return float(Decimal(int(value)).scaleb(-places))


def many_rows(count: int, first: int = 0) -> Rows:
    """Many executions, quickly made: a point of about 100 bytes each."""
    a = np.zeros(count, TABLES["executions"])
    n = np.arange(first, first + count)
    a["n"], a["slice"], a["ts_ns"] = n, 13_000_000_000 + n // 50, 13_000_000_000 * 10**8 + n * 1_000_003
    a["order_n"], a["quantity"], a["price"] = n // 2, n % 977, 1_000_000 + n * 7919 % 999_983
    a["fee_e10"], a["symbol"], a["side"] = n * 104_729 % 10**10, n % 2, 1 - 2 * (n % 2)
    return Rows("executions", "main", a)


def expected_points(instruments: InstrumentList, rows: Rows) -> dict[int, tuple[dict[str, str], int, dict[str, float | int]]]:
    """What points of rows must be, by plain Python: n to tags, time of the row, fields."""
    out = {}
    for row in rows.a:
        names = rows.a.dtype.names or ()
        symbol = int(row["symbol"]) if "symbol" in names else -1
        known = symbol in range(len(instruments.symbols))
        one = instruments.instruments[symbol] if known else None
        tags = {"account": rows.key} if rows.table in ACCOUNT_TABLES else {}
        if "symbol" in names:
            tags["symbol"] = "-" if one is None else one.symbol
        fields: dict[str, float | int] = {"n": int(row["n"])}
        for name in names:
            value = int(row[name]) if rows.a.dtype[name].kind != "V" else 0
            if name in ("action", "side") and rows.table != "verdicts":
                tags[name] = {-1: "sell", 0: "hold", 1: "buy"}[value]
            elif name == "state":
                tags[name] = OrderState(value).name.lower()
            elif name == "rule":
                tags[name] = CODEBOOK["rule"].get(value, str(value))
            elif name in ("order_n", "approved"):
                fields[name] = value
            elif name.startswith(
                ("score", "confidence", "value", "limit", "fee", "average", "realised", "unrealised", "equity", "exposure", "drawdown")
            ):
                base, _, places = name.rpartition("_e")
                fields[base] = as_float(value, int(places))
            elif rows.table in ("orders", "executions", "positions") and name in ("price", "quantity", "filled"):
                assert one is not None
                fields[name] = as_float(value, one.price_exponent if name == "price" else one.size_exponent)
        out[int(row["n"])] = (tags, int(row["ts_ns"]), fields)
    return out


class Made:
    """The functions above, for tests (which cannot import a conftest)."""

    neurons = NEURONS
    codebook = CODEBOOK
    tables = POINT_TABLES
    rows = staticmethod(made_rows)
    ranges = staticmethod(made_ranges)
    cut = staticmethod(cut_up)
    end = staticmethod(end_of)
    as_float = staticmethod(as_float)
    many = staticmethod(many_rows)
    expected = staticmethod(expected_points)


@pytest.fixture(scope="session")
def made() -> type[Made]:
    return Made


class Held:
    """A bucket of a server, as tests look at it."""

    def __init__(self, server: Any, bucket: str) -> None:
        self.bucket = bucket
        self.settings = load_settings(
            overrides=[
                f"influx.url={server.url}",
                f"influx.token={server.token}",
                f"influx.org={server.org}",
                f"influx.bucket={bucket}",
                "influx.retry_first_ms=20",
                "influx.retry_most_ms=200",
                "influx.timeout_s=5",
            ],
            env={},
        )
        self._server = server

    def client(self) -> InfluxDBClient:
        return InfluxDBClient(self._server.url, self._server.token, org=self._server.org, timeout=30_000)

    def rows(self, measurement: str) -> list[Row]:
        """Every stored value of a measurement: one row for each field of each point."""
        text = f'from(bucket: "{self.bucket}") |> range(start: 0) |> filter(fn: (r) => r._measurement == "{measurement}")'
        with self.client() as client:
            return parsed(client.query_api().query_raw(text).data.decode())

    def points(self, measurement: str, *tags: str) -> dict[tuple[Any, ...], Row]:
        """Every point of a measurement: (tags..., time in ns) to its fields."""
        points: dict[tuple[Any, ...], Row] = {}
        for r in self.rows(measurement):
            point = points.setdefault((*(r[t] for t in tags), time_ns(r["_time"])), {})
            assert r["_field"] not in point
            point[r["_field"]] = r["_value"]
        return points

    def make(self) -> Held:
        with self.client() as client:
            forever = [BucketRetentionRules(type="expire", every_seconds=0)]
            client.buckets_api().create_bucket(bucket_name=self.bucket, retention_rules=forever, org=self._server.org)
        return self


@pytest.fixture
def held_by() -> Callable[[Any], Held]:
    """The first bucket of an own server."""
    return lambda server: Held(server, server.bucket)


@pytest.fixture
def held(influx: Any, request: pytest.FixtureRequest) -> Held:
    """A bucket of this test's own in the server of the whole run."""
    name = request.node.name.replace("[", "-").replace("]", "")[-80:]
    return Held(influx, name).make()


@pytest.fixture
def writer_for(instruments: InstrumentList, tmp_path: Path) -> Iterator[Callable[..., Writer]]:
    """Writers, stopped after the test. `settings` as `influx.x=y`; the spool is in `tmp_path` unless another folder is given."""
    open_ones: list[Writer] = []

    def made_writer(base: Settings, spool: Path | None = None, live: Live | None = None, needed: int = 0, **influx: Any) -> Writer:
        settings = base.model_copy(update={"influx": base.influx.model_copy(update=influx)})
        writer = Writer(settings, instruments, CODEBOOK, NEURONS, spool or tmp_path / "spool", live=live, needed=needed)
        open_ones.append(writer)
        return writer

    yield made_writer
    for writer in open_ones:
        writer.stop()


@pytest.fixture
def gate_before() -> Iterator[Callable[[Any], Gate]]:
    """Puts a gate before a server."""
    gates: list[Gate] = []

    def put(server: Any) -> Gate:
        gates.append(Gate(server, keep=True))
        return gates[-1]

    yield put
    for gate in gates:
        gate.close()


def until(said: Callable[[], Any], within_s: float = 60.0) -> None:
    """Waits for something to be so."""
    end = time.monotonic() + within_s
    while not said():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    return until

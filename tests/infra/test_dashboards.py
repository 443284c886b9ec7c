"""Every panel's question is asked of a real InfluxDB and a real Prometheus that hold what the flows would have put there."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from influxdb_client import Dialect, InfluxDBClient

from flows.live.health import HealthServer
from flows.live.watchdog import Progress
from flows.points import writer_of
from infra.grafana.declared import DASHBOARDS, FILES, written
from infra.grafana.panels import Dashboard, Flux, PromQL
from infra.local import InfluxServer, PrometheusServer
from operators.risk import RiskRule
from operators.sinks import RunFolder
from operators.timeline.control import Drain
from operators.timeline.live import Live
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import SLICE_QUOTE, SliceOut
from schemas.settings import Settings, load_settings
from schemas.tables import TABLES, Action, OrderState, Rows, Side
from schemas.ticks import shard_key, shard_of

PROVISIONING = FILES.parent / "provisioning"
BUCKET = "dashboards"
FLOW = "shown"
"""No other test has a process of this name: all share one Prometheus, which remembers them."""
BEGIN_S = 1_381_152_600
"""A recorded day: what is shown must not hang on the clock."""
SECONDS = 120
SLICE_NS = Settings().slice_ns
SYMBOLS = ("AAA", "BBB")
FLUX = [(d, t, q) for d in DASHBOARDS for t, q in [(p.title, q) for row in d.rows for p in row for q in p.questions] if isinstance(q, Flux)]
PROMQL = [
    (d, t, q) for d in DASHBOARDS for t, q in [(p.title, q) for row in d.rows for p in row for q in p.questions] if isinstance(q, PromQL)
]
VARIABLES = [(d, v) for d in DASHBOARDS for v in d.variables]


def named(items: list[tuple[Dashboard, Any, Any]]) -> list[str]:
    """Names of tests: dashboard, panel, and which question of the panel."""
    return [f"{d.uid.removeprefix('spiketape-')}-{title}-{i}" for i, (d, title, _) in enumerate(items)]


def flux_as_sent(text: str, symbol: str = ".*") -> str:
    """Flux as Grafana sends it: its variables and time range filled in."""
    moments = [time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN_S + s)) for s in (0, SECONDS)]
    filled = text.replace("v.timeRangeStart", moments[0]).replace("v.timeRangeStop", moments[1]).replace("v.windowPeriod", "10s")
    for name, value in (("${bucket}", BUCKET), ("${symbol:regex}", symbol), ("${account:regex}", "(main)")):
        filled = filled.replace(name, value)
    assert "${" not in filled
    return filled


def rows_of(table: str, key: str, symbols: Sequence[int], **fields: int) -> Rows:
    """A row of each symbol each second, their fields all alike."""
    at = np.arange(SECONDS * len(symbols)) // len(symbols)
    a = np.zeros(at.size, TABLES[table])
    a["n"] = np.arange(at.size)
    a["ts_ns"] = (BEGIN_S + at) * 10**9 + 5 * 10**8
    a["slice"] = a["ts_ns"] // SLICE_NS
    if "symbol" in (a.dtype.names or ()):
        a["symbol"] = np.tile(symbols, SECONDS)
    for name, value in fields.items():
        a[name] = value
    return Rows(table, key, a)


def slices_of(shard: int, symbol: int) -> SliceOut:
    """A quote and a slice's statistics each second, of the only symbol of a shard."""
    statistics = rows_of(
        "statistics", shard_key(shard), [0], ticks=40, late=1, dead=1, max_late_ns=2_000_000, input_spikes=100, hidden_spikes=20
    )
    quotes = np.zeros(SECONDS, SLICE_QUOTE)
    for name in ("slice", "ts_ns"):
        quotes[name] = statistics.a[name]
    for name, value in {"bid": 1001, "ask": 1003, "bid_size": 5, "ask_size": 3, "symbol": symbol}.items():
        quotes[name] = value
    first, last = BEGIN_S * 10**9 // SLICE_NS, (BEGIN_S + SECONDS) * 10**9 // SLICE_NS
    return SliceOut(shard, first, last, np.empty(0, TABLES["signals"]), quotes, (statistics,), None)


def written_by_a_flow(settings: Settings, folder: Path) -> None:
    """Two minutes of two symbols, by the writer of the flows: the dashboards ask for what it makes."""
    listed = [Instrument(symbol=s, price_exponent=2, size_exponent=0, tick_size=1, lot_size=1) for s in SYMBOLS]
    instruments, both = InstrumentList(instruments=tuple(listed)), range(len(SYMBOLS))
    writer = writer_of(settings, instruments, RunFolder(folder), Drain())(0)
    try:
        for i, symbol in enumerate(SYMBOLS):
            writer.write(rows_of("signals", symbol, [i], action=Action.BUY, score_e6=700_000, confidence_e6=600_000))
            writer.write(slices_of(shard_of(symbol, settings.shards), i))
        rule, state = RiskRule.MAX_POSITION, OrderState.FILLED
        writer.write(rows_of("verdicts", "main", both, rule=rule, value_e8=3 * 10**8, limit_e8=2 * 10**8))
        writer.write(rows_of("orders", "main", both, side=Side.BUY, state=state, price=1001, quantity=5, filled=5))
        writer.write(rows_of("executions", "main", both, side=Side.BUY, price=1001, quantity=5, fee_e10=10**8))
        writer.write(rows_of("positions", "main", both, quantity=5, average_cost_e10=10**11, realised_e10=10**10, unrealised_e10=-(10**9)))
        writer.write(rows_of("equity", "main", [0], equity_e10=10**15, drawdown_e8=10**5, exposure_e10=5 * 10**11))
        assert writer.finish(60) == 0
        assert writer.letters.count == 0
    finally:
        writer.stop()


@pytest.fixture(scope="module")
def filled(influx: InfluxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Asks Flux of a bucket with two minutes of points; rows as dictionaries."""
    given = {"url": influx.url, "token": influx.token, "org": influx.org, "bucket": BUCKET}
    with InfluxDBClient(influx.url, influx.token, org=influx.org) as client:
        client.buckets_api().create_bucket(bucket_name=BUCKET)
        settings = load_settings(None, [f"influx.{k}={v}" for k, v in given.items()], env={})
        written_by_a_flow(settings, tmp_path_factory.mktemp("written"))
        plain = Dialect(header=True, annotations=[])

        def ask(flux: str) -> list[dict[str, str]]:
            return list(csv.DictReader(io.StringIO(client.query_api().query_raw(flux, dialect=plain).data.decode())))

        yield ask


@pytest.mark.parametrize(("dashboard", "panel", "question"), FLUX, ids=named(FLUX))
def test_panel_of_influx_shows_something(filled: Any, dashboard: Dashboard, panel: str, question: Flux) -> None:
    rows = filled(flux_as_sent(question.text))
    assert rows
    assert all(row.get("_value") or row.get("symbol") for row in rows)


def test_choice_of_a_symbol_leaves_the_others_out(filled: Any) -> None:
    for _, title, question in FLUX:
        if "${symbol:regex}" in question.text and '"symbol", "_field"' in question.text:
            rows = filled(flux_as_sent(question.text, "(AAA)"))
            assert {r["symbol"] for r in rows} == {"AAA"}, title


def test_variables_of_influx_offer_what_is_there(filled: Any) -> None:
    offered = {v.name: {r["_value"] for r in filled(flux_as_sent(v.question.text))} for _, v in VARIABLES if isinstance(v.question, Flux)}
    assert offered["symbol"] == set(SYMBOLS)
    assert offered["account"] == {"main"}
    assert BUCKET in offered["bucket"]
    assert not any(name.startswith("_") for name in offered["bucket"])


@pytest.fixture(scope="module")
def scraped(prometheus: PrometheusServer) -> Iterator[Any]:
    """Asks PromQL of a Prometheus that has scraped the real endpoint of a process in which everything has happened."""
    live = Live()
    server = HealthServer(live, Progress(live, 60.0), "127.0.0.1", 0, "spiketape", FLOW)
    server.start()

    def moved() -> None:
        live.arrived(0, 10, 5000, 320_000, time.time_ns())
        live.lag(0, 3)
        live.mark(0, live.messages)
        live.done(live.messages - 1)
        live.dead_letter("BOOK_CROSSED")
        live.refused("MAX_POSITION")
        live.epoch_began("ticks")
        live.component("kafka").ok()
        live.transaction_s("kafka").observe(0.004)
        live.write_s("influx").observe(0.02)
        live.spool_bytes, live.spool_limit_bytes, live.restarts = 1000, 10_000, 1

    def ask(path: str, **arguments: str) -> Any:
        question = f"{prometheus.url}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(question, timeout=10) as answer:
            return json.load(answer)["data"]

    host, port = server.address
    labels = {"deployment": "spiketape", "flow": FLOW}
    jobs = [{"job_name": "spiketape", "honor_labels": True, "static_configs": [{"targets": [f"{host}:{port}"], "labels": labels}]}]
    prometheus.reload(yaml.safe_dump({"global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"}, "scrape_configs": jobs}))
    until = time.monotonic() + 60
    while not (found := ask("query", query=f'min_over_time(spiketape_ticks_total{{flow="{FLOW}"}}[1m]) < spiketape_ticks_total')["result"]):
        assert time.monotonic() < until, "Prometheus has not scraped twice"
        moved()
        time.sleep(0.1)
    assert found
    yield ask
    server.stop()


@pytest.mark.parametrize(("dashboard", "panel", "question"), PROMQL, ids=named(PROMQL))
def test_panel_of_prometheus_shows_something(scraped: Any, dashboard: Dashboard, panel: str, question: PromQL) -> None:
    text = question.text.replace("${flow:regex}", FLOW).replace("$__rate_interval", "1m")
    answer = scraped("query", query=text)["result"]
    assert answer
    for label in re.findall(r"{{(\w+)}}", question.legend):
        assert all(series["metric"].get(label) for series in answer), label
    assert all(float(series["value"][1]) == float(series["value"][1]) for series in answer), "not a number"


def test_variables_of_prometheus_offer_what_is_there(scraped: Any) -> None:
    for _, v in VARIABLES:
        if isinstance(v.question, PromQL):
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", v.question.text).groups()  # type: ignore[union-attr]
            assert FLOW in scraped(f"label/{label}/values", **{"match[]": metric})


def test_committed_files_are_what_is_declared() -> None:
    """Otherwise: python -m infra.grafana.declared."""
    assert {p.name for p in FILES.iterdir()} == {f"{d.uid}.json" for d in DASHBOARDS}
    for d in DASHBOARDS:
        assert (FILES / f"{d.uid}.json").read_text() == written(d), d.uid


def test_panels_name_data_sources_that_are_provisioned_and_do_not_overlap() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources/spiketape.yml").read_text())["datasources"]
    provisioned = {(s["type"], s["uid"]) for s in sources}
    for d in DASHBOARDS:
        taken: set[tuple[int, int]] = set()
        for panel in d.json()["panels"]:
            assert {(t["datasource"]["type"], t["datasource"]["uid"]) for t in panel["targets"]} <= provisioned
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, panel["title"]
            taken |= cells


def test_provider_reads_the_folder_that_compose_mounts() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/spiketape.yml").read_text())["providers"]
    compose = yaml.safe_load((Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text())
    mounts = dict(reversed(v.split(":")[:2]) for v in compose["services"]["grafana"]["volumes"] if v.startswith("./"))
    assert mounts[provider["options"]["path"]] == "./infra/grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./infra/grafana/provisioning"

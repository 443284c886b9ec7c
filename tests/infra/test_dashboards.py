"""Every panel's question is asked of a real InfluxDB and a real Prometheus that hold what the flows would have put there."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from influxdb_client import Dialect, InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from flows.live.health import HealthServer
from flows.live.watchdog import Progress
from infra.grafana.declared import DASHBOARDS, FILES, written
from infra.grafana.panels import Dashboard, Flux, PromQL
from infra.local import InfluxServer, PrometheusServer
from operators.timeline.live import Live

PROVISIONING = FILES.parent / "provisioning"
BUCKET = "dashboards"
FLOW = "shown"
"""No other test has a process of this name: all share one Prometheus, which remembers them."""
BEGIN_S = 1_381_152_600
"""A recorded day: what is shown must not hang on the clock."""
SECONDS = 120
LINES = (
    "quote,symbol={s} bid=10.01,ask=10.03,mid=10.02,spread=0.02,imbalance=0.25 {t}",
    "signal,symbol={s},action=buy score=0.7,confidence=0.6,n={i}i {t}",
    "spikes,symbol={s},area=input rate=12.5,count=100i {t}",
    "spikes,symbol={s},area=hidden rate=2.5,count=20i {t}",
    "verdict,account=main,symbol={s},rule=MAX_POSITION value=3,limit=2,approved=0i,n={i}i {t}",
    "order,account=main,symbol={s},side=buy,state=filled price=10.01,quantity=5,filled=5,order_n={i}i,n={i}i {t}",
    "execution,account=main,symbol={s},side=buy price=10.01,quantity=5,fee=0.01,order_n={i}i,n={i}i {t}",
    "position,account=main,symbol={s} quantity=5,average_cost=10.01,realised=1.5,unrealised=-0.5,n={i}i {t}",
    "equity,account=main equity=100001.5,drawdown=0.001,exposure=50.1,n={i}i {t}",
    "pipeline,flow=spiketape,shard=007 ticks=40i,late=1i,dead=0i,lateness=0.002,lag=0 {t}",
)
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


@pytest.fixture(scope="module")
def filled(influx: InfluxServer) -> Iterator[Any]:
    """Asks Flux of a bucket with two minutes of points; rows as dictionaries."""
    with InfluxDBClient(influx.url, influx.token, org=influx.org) as client:
        client.buckets_api().create_bucket(bucket_name=BUCKET)
        lines = [
            line.format(s=symbol, i=i, t=(BEGIN_S + i) * 10**9 + 999_999_999)
            for i in range(SECONDS)
            for symbol in ("AAA", "BBB")
            for line in LINES
        ]
        client.write_api(write_options=SYNCHRONOUS).write(BUCKET, influx.org, lines)

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
    assert offered["symbol"] == {"AAA", "BBB"}
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

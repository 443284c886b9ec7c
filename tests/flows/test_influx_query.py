"""Named queries and Flux, asked of a real server: the answers, the command, and what a wrong question is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from pydantic import SecretStr

from flows.influx_query import NAMED, asked
from infra.influx.answers import parsed, time_ns
from schemas.errors import InfluxError, UsageError
from schemas.settings.sections import InfluxSettings
from tests.conftest import Ended

T = 1_381_150_000 * 10**9
"""2013-10-07T12:46:40Z"""
S = 10**9
POINTS = [
    f"signal,action=buy,symbol=AIG score=0.5,confidence=0.9,n=0i {T}",
    f"signal,action=sell,symbol=AIG score=-0.25,confidence=0.8,n=1i {T + 1}",
    f"signal,action=hold,symbol=BTC/USDT score=0.125,confidence=0.5,n=0i {T + 5 * S + 1}",
    f"signal,action=buy,symbol=BTC/USDT score=0.5,confidence=0.5,n=1i {T + 5 * S}",
    *(f"equity,account=main equity={100 + i},drawdown={(7 - i) / 10},exposure={i},n={i}i {T + i * 10 * S}" for i in range(8)),
    f"equity,account=other equity=5,drawdown=0,exposure=0,n=0i {T}",
    f"execution,account=main,side=buy,symbol=AIG price=49.17,quantity=100,fee=1.005,order_n=3i,n=0i {T}",
    f"execution,account=main,side=sell,symbol=AIG price=49.2,quantity=60,fee=0.5,order_n=4i,n=1i {T + 123}",
    f"execution,account=main,side=buy,symbol=BTC/USDT price=120.5,quantity=0.25,fee=0,order_n=5i,n=2i {T + 86_400 * S}",
    *(f"spikes,area=input,symbol=AIG rate={i},count={64 * i}i {T + i * S}" for i in range(4)),
    *(f"spikes,area=hidden,symbol=AIG rate={i / 2},count={64 * i}i {T + i * S}" for i in range(4)),
    f"spikes,area=input,symbol=AIG rate=1000,count=1i {T - 7200 * S}",
    f"pipeline,flow=spiketape,shard=s01 ticks=7i,late=0i,dead=0i,lateness=0.5,lag=0.25 {T + 10 * S}",
    f"pipeline,flow=spiketape,shard=s01 ticks=9i,late=0i,dead=0i,lateness=0.125,lag=0 {T + 20 * S}",
    f"pipeline,flow=spiketape,shard=s40 ticks=3i,late=1i,dead=1i,lateness=0,lag=0.75 {T + 12 * S}",
]


@pytest.fixture(scope="module")
def store(influx: Any) -> InfluxSettings:
    settings = InfluxSettings(url=influx.url, token=SecretStr(influx.token), org=influx.org, bucket="test-influx-query")
    with InfluxDBClient(influx.url, influx.token, org=influx.org) as client:
        client.buckets_api().create_bucket(bucket_name=settings.bucket)
        client.write_api(write_options=SYNCHRONOUS).write(settings.bucket, record=POINTS)
    return settings


def test_latest_signals_are_those_of_event_time(store: InfluxSettings) -> None:
    answer = asked(store, "latest_signals")
    assert answer.columns == ("symbol", "time", "action", "score", "confidence")
    assert [tuple(r.values()) for r in answer.rows] == [
        ("AIG", "2013-10-07T12:46:40.000000001Z", "sell", -0.25, 0.8),
        ("BTC/USDT", "2013-10-07T12:46:45.000000001Z", "hold", 0.125, 0.5),
    ]
    assert [r["symbol"] for r in asked(store, "latest_signals symbol=AIG").rows] == ["AIG"]


def test_equity_is_given_in_steps_with_the_largest_drawdown_of_each(store: InfluxSettings) -> None:
    answer = asked(store, "equity account=main")
    assert [(r["equity"], r["exposure"]) for r in answer.rows] == [(100 + i, i) for i in range(8)]
    coarse = asked(store, "equity account=main points=4").rows
    assert 3 <= len(coarse) <= 6
    assert coarse[-1]["equity"] == 107
    assert max(r["drawdown"] for r in coarse) == 0.7
    assert {r["account"] for r in asked(store, "equity").rows} == {"main", "other"}
    assert asked(store, "equity account=nobody").rows == []


def test_fills_are_those_of_one_day_in_utc(store: InfluxSettings) -> None:
    assert [r["price"] for r in asked(store, "fills").rows] == [120.5]
    answer = asked(store, "fills day=2013-10-07")
    assert [tuple(r.values()) for r in answer.rows] == [
        ("2013-10-07T12:46:40Z", "main", "AIG", "buy", 49.17, 100.0, 1.005),
        ("2013-10-07T12:46:40.000000123Z", "main", "AIG", "sell", 49.2, 60.0, 0.5),
    ]
    assert asked(store, "fills day=2013-10-07 symbol=BTC/USDT").rows == []


def test_spike_rates_are_means_over_the_last_minutes(store: InfluxSettings) -> None:
    rows = asked(store, "spike_rates").rows
    assert rows == [
        {"area": "hidden", "symbol": "AIG", "rate": 0.75, "count": 384, "seconds": 4},
        {"area": "input", "symbol": "AIG", "rate": 1.5, "count": 384, "seconds": 4},
    ]
    assert asked(store, "spike_rates minutes=600 area=input").rows[0]["seconds"] == 5


def test_lag_is_behind_the_newest_shard_and_the_clock(store: InfluxSettings) -> None:
    rows = asked(store, "lag").rows
    assert [(r["shard"], r["behind_newest_s"], r["lag"], r["lateness"], r["ticks"]) for r in rows] == [
        ("s40", 8.0, 0.75, 0.0, 3),
        ("s01", 0.0, 0.0, 0.125, 9),
    ]
    assert all(r["behind_clock_s"] > 10**8 for r in rows)


@pytest.mark.parametrize("name", NAMED)
def test_an_empty_store_has_an_empty_answer(influx: Any, store: InfluxSettings, name: str) -> None:
    with InfluxDBClient(influx.url, influx.token, org=influx.org) as client:
        client.buckets_api().create_bucket(bucket_name=f"empty-{name}")
    assert asked(store, name, bucket=f"empty-{name}").rows == []


def test_any_flux_may_be_asked(store: InfluxSettings) -> None:
    chosen = 'filter(fn: (r) => r._measurement == "pipeline" and r._field == "ticks")'
    text = f'from(bucket: "{store.bucket}") |> range(start: 0) |> {chosen} |> sum()'
    answer = asked(store, text)
    assert sorted((r["shard"], r["_value"]) for r in answer.rows) == [("s01", 16), ("s40", 3)]
    assert "table" not in answer.columns


def test_a_wrong_question_is_told_what_there_is(store: InfluxSettings) -> None:
    with pytest.raises(UsageError, match="neither Flux .* nor a named query; there are latest_signals, equity"):
        asked(store, "latest")
    with pytest.raises(UsageError, match="'dya=1' is no argument of fills; it takes day="):
        asked(store, "fills dya=1")
    with pytest.raises(UsageError, match="expected a date such as"):
        asked(store, "fills day=yesterday")
    with pytest.raises(UsageError, match="points=0: expected a whole number from 2"):
        asked(store, "equity points=0")
    with pytest.raises(InfluxError, match="400: .*undefined identifier"):
        asked(store, "nothing |> range(start: 0)")
    with pytest.raises(InfluxError, match="could not find bucket"):
        asked(store, "lag", bucket="nowhere")


def test_arguments_cannot_leave_their_quotes(store: InfluxSettings) -> None:
    assert asked(store, """'latest_signals' 'symbol=x" or true or r.symbol == "y'""").rows == []


def test_the_command_prints_table_json_and_csv(store: InfluxSettings, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETAPE_INFLUX__TOKEN", store.token.get_secret_value())
    where = ["--set", f"influx.url={store.url}", "--set", f"influx.bucket={store.bucket}"]
    told = cli("query", "--influx", "latest_signals", *where, "--json")
    assert json.loads(told.out)["rows"][0]["action"] == "sell"
    assert cli("query", "--influx", "latest_signals", *where).out.count("AIG") == 1
    lines = cli("query", "--influx", "fills day=2013-10-07", *where, "--csv").out.splitlines()
    assert lines[0] == "time,account,symbol,side,price,quantity,fee"
    assert lines[1] == "2013-10-07T12:46:40Z,main,AIG,buy,49.17,100.0,1.005"
    assert set(json.loads(cli("query", "--list", "--json").out)) == set(NAMED)
    assert "latest_signals" in cli("query", "--list").out
    cli("query", "--influx", "nonsense", *where).told(2, "latest_signals")
    cli("query").told(2, "--influx")
    cli("query", "run", "--influx", "lag").told(2, "more than one")


def test_csv_is_read_with_its_types() -> None:
    text = (
        "#datatype,string,long,dateTime:RFC3339,double,boolean,string\n#group,false,false,false,false,true,true\n#default,_result,,,,,x\n"
        ',result,table,_time,_value,flag,tag\n,,0,2013-10-07T00:00:00.5Z,1.5,true,"a,b"\n,,1,2013-10-07T00:00:00Z,,false,\n\n'
        "#datatype,string,long,long\n#group,false,false,false\n#default,other,,\n,result,table,_value\n,,0,7\n"
    )
    assert parsed(text) == [
        {"result": "_result", "table": 0, "_time": "2013-10-07T00:00:00.5Z", "_value": 1.5, "flag": True, "tag": "a,b"},
        {"result": "_result", "table": 1, "_time": "2013-10-07T00:00:00Z", "_value": None, "flag": False, "tag": "x"},
        {"result": "other", "table": 0, "_value": 7},
    ]
    error = "#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n,it broke,897\n"
    with pytest.raises(InfluxError, match="it broke"):
        parsed(error)


@pytest.mark.parametrize(
    ("text", "ns"),
    [("1970-01-01T00:00:00Z", 0), ("1969-12-31T23:59:59.5Z", -5 * 10**8), ("2013-10-07T12:46:40.000000001Z", T + 1)],
)
def test_times_are_read_to_the_nanosecond(text: str, ns: int) -> None:
    assert time_ns(text) == ns

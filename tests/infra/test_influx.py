"""InfluxDB as code, applied to a real server: twice, changed, with the tokens that it makes; downsampled values; replay buckets."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from influxdb_client import InfluxDBClient
from pydantic import SecretStr

from infra.influx import applied, declared, downsample, prepare_replay_bucket, replay_bucket_name, shown, token_of
from infra.influx.answers import parsed
from infra.influx.downsampling import RESOLUTIONS, bucket_name, task_flux
from schemas.errors import InfluxError, RefusedError
from schemas.settings.sections import InfluxSettings
from tests.conftest import Ended

HOUR_S = 3600
FIRST_S = 1_381_147_200  # 2013-10-07T12:00:00Z


@pytest.fixture
def place(influx: Any, request: pytest.FixtureRequest) -> InfluxSettings:
    """Settings for buckets and an organisation of this test's own, in the server of the whole run."""
    name = request.node.name.removeprefix("test_")[:60]
    return InfluxSettings(url=influx.url, token=SecretStr(influx.token), org=f"org-{name}", bucket=name)


def client_of(settings: InfluxSettings, token: str | None = None) -> InfluxDBClient:
    return InfluxDBClient(settings.url, token or settings.token.get_secret_value(), org=settings.org)


def written(settings: InfluxSettings, lines: list[str], token: str | None = None, bucket: str | None = None) -> int:
    """Status of a write."""
    request = urllib.request.Request(
        f"{settings.url}/api/v2/write?org={settings.org}&bucket={bucket or settings.bucket}&precision=s",
        "\n".join(lines).encode(),
        {"Authorization": f"Token {token or settings.token.get_secret_value()}"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as e:
        return e.code


def held(settings: InfluxSettings, bucket: str, token: str | None = None) -> dict[tuple[str, str, str], float]:
    """Values of a bucket by (measurement, field, time)."""
    with client_of(settings, token) as client:
        rows = parsed(client.query_api().query_raw(f'from(bucket: "{bucket}") |> range(start: 0)').data.decode())
    return {(r["_measurement"], r["_field"], r["_time"]): r["_value"] for r in rows}


def test_applied_twice_changes_nothing_and_everything_is_as_declared(place: InfluxSettings) -> None:
    changes = applied(place)
    assert {c.what for c in changes} == {"organisation", "bucket", "task", "token"}
    assert len(changes) == 1 + 4 + 3 + 2
    assert all(c.done.startswith("made") for c in changes)
    assert applied(place) == []
    rows = shown(place)
    assert len(rows) == 10
    assert all(r["declared"] == r["found"] for r in rows), rows


def test_what_was_changed_is_mended_and_nothing_else(place: InfluxSettings) -> None:
    applied(place)
    with client_of(place) as client:
        task = client.tasks_api().find_tasks(name=f"{place.bucket}-1m", limit=10)[0]
        client.tasks_api().update_task_request(task.id, {"status": "inactive"})
        other = client.tasks_api().find_tasks(name=f"{place.bucket}-1h", limit=10)[0]
        client.tasks_api().update_task_request(other.id, {"flux": task_flux(place, RESOLUTIONS[2]).replace("6h", "7h")})
        client.buckets_api().delete_bucket(client.buckets_api().find_bucket_by_name(f"{place.bucket}-1s"))
    states = {r["name"]: r["found"] for r in shown(place) if r["what"] == "task"}
    assert states == {f"{place.bucket}-1s": "active", f"{place.bucket}-1m": "inactive", f"{place.bucket}-1h": "active, with another text"}
    changes = {(c.what, c.name): c.done for c in applied(place)}
    assert changes == {
        ("bucket", f"{place.bucket}-1s"): "made, kept for ever",
        ("task", f"{place.bucket}-1m"): "changed to what is declared",
        ("task", f"{place.bucket}-1h"): "changed to what is declared",
        ("token", f"{place.bucket} reader"): "replaced: its rights were others",
    }
    assert applied(place) == []


def test_a_shorter_retention_needs_a_word_and_a_longer_one_does_not(place: InfluxSettings) -> None:
    applied(place)
    shorter = place.model_copy(update={"retention_days": 30})
    with pytest.raises(RefusedError, match="is kept for ever, the settings say 30 days: .*--shorten"):
        applied(shorter)
    assert [(c.name, c.done) for c in applied(shorter, shorten=True)] == [(place.bucket, "kept 30 days, before for ever")]
    assert [c.done for c in applied(place.model_copy(update={"retention_days": 60}))] == ["kept 60 days, before 30 days"]
    assert [c.done for c in applied(place)] == ["kept for ever, before 60 days"]


def test_tokens_may_do_what_they_are_for_and_nothing_else(place: InfluxSettings) -> None:
    applied(place)
    writer, reader = token_of(place, "writer"), token_of(place, "reader")
    line = [f"equity,account=a equity=1.5 {FIRST_S}"]
    assert written(place, line, writer) == 204
    assert written(place, line, reader) in (401, 403, 404)
    assert written(place, line, writer, f"{place.bucket}-1s") in (401, 403, 404)
    assert held(place, place.bucket, reader) == {("equity", "equity", "2013-10-07T12:00:00Z"): 1.5}
    with client_of(place, writer) as client:
        assert client.buckets_api().find_buckets(limit=100).buckets == []
    with pytest.raises(InfluxError, match="refuses the token"):
        applied(place.model_copy(update={"token": SecretStr(writer), "retention_days": 1}))


def test_a_server_that_is_away_or_a_wrong_token_is_told_without_the_token(place: InfluxSettings) -> None:
    away = place.model_copy(update={"url": "http://127.0.0.1:9"})
    with pytest.raises(InfluxError, match="127.0.0.1:9 does not answer"):
        shown(away)
    wrong = place.model_copy(update={"token": SecretStr("secret-word")})
    with pytest.raises(InfluxError, match="refuses the token") as e:
        shown(wrong)
    assert "secret-word" not in str(e.value)
    with pytest.raises(InfluxError, match="has no token .* influx apply"):
        token_of(place, "reader")


def raw_lines() -> list[str]:
    """Two hours and a bit of every measurement, every 20 seconds, values that say when they were made."""
    lines = []
    for i, t in enumerate(range(FIRST_S, FIRST_S + 2 * HOUR_S + 130, 20)):
        lines += [
            f"quote,symbol=A bid={i},ask={i + 1},mid={i + 0.5},spread=1,imbalance=0.25 {t}",
            f"signal,action=buy,symbol=A score={i},confidence=0.5,n={i}i {t}",
            f"spikes,area=input,symbol=A count={i}i,rate={i * 0.5} {t}",
            f"pipeline,flow=f,shard=s01 ticks={i}i,late=1i,dead=2i,lateness={1000 - i},lag=0.5 {t}",
            f"equity,account=a equity={i},drawdown={1000 - i},exposure=3,n={i}i {t}",
            f"position,account=a,symbol=A quantity={i},average_cost=1,realised=2,unrealised=3,n={i}i {t}",
            f"execution,account=a,side=buy,symbol=A price=7,quantity={i},fee=0.5,order_n=1i,n={i}i {t}",
            f"verdict,account=a,rule=R,symbol=A value=1,limit=2,approved={i % 2}i,n={i}i {t}",
            f"order,account=a,side=buy,state=new,symbol=A price=1,quantity=2,filled=0,order_n=1i,n={i}i {t}",
        ]
    return lines


def expected_by(window_s: int) -> dict[tuple[str, str, str], float]:
    """The same summed up by plain Python."""
    out: dict[tuple[str, str, str], float] = {}
    windows: dict[int, list[tuple[int, int]]] = {}
    for i, t in enumerate(range(FIRST_S, FIRST_S + 2 * HOUR_S + 130, 20)):
        windows.setdefault(t // window_s * window_s, []).append((i, t))
    for begin, points in windows.items():
        time = datetime.fromtimestamp(begin, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        numbers = [i for i, _ in points]
        first, last, n = numbers[0], numbers[-1], len(numbers)
        values: dict[tuple[str, str], float] = {
            ("quote", "bid"): last, ("quote", "ask"): last + 1, ("quote", "mid"): last + 0.5, ("quote", "spread"): 1,
            ("quote", "imbalance"): 0.25, ("signal", "score"): last, ("signal", "confidence"): 0.5, ("spikes", "count"): sum(numbers),
            ("spikes", "rate"): sum(numbers) * 0.5 / n, ("pipeline", "ticks"): sum(numbers), ("pipeline", "late"): n,
            ("pipeline", "dead"): 2 * n, ("pipeline", "lateness"): 1000 - first, ("pipeline", "lag"): 0.5, ("equity", "equity"): last,
            ("equity", "exposure"): 3, ("equity", "drawdown"): 1000 - first, ("position", "quantity"): last,
            ("position", "average_cost"): 1, ("position", "realised"): 2, ("position", "unrealised"): 3,
            ("execution", "quantity"): sum(numbers), ("execution", "fee"): 0.5 * n, ("execution", "count"): n,
            ("verdict", "approved"): sum(i % 2 for i in numbers), ("verdict", "count"): n, ("order", "count"): n,
        }  # fmt: skip
        out |= {(m, f, time): v for (m, f), v in values.items()}
    return out


def test_downsampling_by_hand_gives_what_plain_python_gives_and_again_the_same(place: InfluxSettings) -> None:
    applied(place)
    assert written(place, raw_lines()) == 204
    for _ in range(2):
        downsample(place, (FIRST_S + 5) * 10**9, (FIRST_S + 2 * HOUR_S + 125) * 10**9)
        for name, window_s in (("1s", 1), ("1m", 60), ("1h", HOUR_S)):
            assert held(place, f"{place.bucket}-{name}") == pytest.approx(expected_by(window_s)), name


def test_the_tasks_text_run_at_any_moment_writes_whole_windows_only(place: InfluxSettings) -> None:
    """Minutes and hours are made of seconds, which a look further back than the task's makes here."""
    applied(place)
    assert written(place, raw_lines()) == 204
    texts = {r.name: task_flux(place, r) for r in RESOLUTIONS}
    runs = [
        (texts["1s"].replace("-2m", "-3h"), 2 * HOUR_S + 200),
        *((texts["1m"], now_s) for now_s in (300, 333, 361)),
        *((texts["1h"], now_s) for now_s in (300, HOUR_S + 333, 2 * HOUR_S + 129)),
    ]
    with client_of(place) as client:
        for text, now_s in runs:
            head, _, body = text.split("\n\n", 2)
            asked = f"{head}\n\noption now = () => time(v: {(FIRST_S + now_s) * 10**9})\n\n{body}"
            parsed(client.query_api().query_raw(asked).data.decode())  # a query whose answer is not read may not be run to its end
    for name, window_s, last, windows in (("1m", 60, "2013-10-07T12:05:00Z", 6), ("1h", HOUR_S, "2013-10-07T13:00:00Z", 2)):
        whole = expected_by(window_s)
        found = held(place, f"{place.bucket}-{name}")
        assert found == pytest.approx({place_: whole[place_] for place_ in found}), name
        assert max(at for _, _, at in found) == last
        assert len({at for _, _, at in found}) == windows
        assert {(m, f) for m, f, _ in found} == {(m, f) for m, f, _ in whole}


def test_the_server_runs_a_task_by_itself(place: InfluxSettings) -> None:
    """The declared task of seconds, more often than declared so as not to wait for it."""
    applied(place)
    name = bucket_name(place.bucket, RESOLUTIONS[0])
    often = task_flux(place, RESOLUTIONS[0]).replace("every: 10s, offset: 2s", "every: 1s")
    assert "every: 1s}" in often
    with client_of(place) as client:
        task = client.tasks_api().find_tasks(name=name, limit=10)[0]
        client.tasks_api().update_task_request(task.id, {"flux": often})
        now_s = int(time.time())
        assert written(place, [f"equity,account=a equity=1.5,drawdown=0.5,exposure=2.5,n=1i {now_s}"]) == 204
        until = time.monotonic() + 60
        while not (found := held(place, name)):
            assert time.monotonic() < until, client.tasks_api().find_tasks(name=name, limit=10)
            time.sleep(0.1)
        client.tasks_api().update_task_request(task.id, {"status": "inactive"})
    at = datetime.fromtimestamp(now_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert found == {("equity", "equity", at): 1.5, ("equity", "drawdown", at): 0.5, ("equity", "exposure", at): 2.5}


def test_a_replay_has_a_bucket_of_its_own_which_a_fresh_start_empties(place: InfluxSettings) -> None:
    applied(place)
    name = prepare_replay_bucket(place, "tape-1 2/3", fresh=False)
    assert name == replay_bucket_name(place, "tape-1 2/3") == f"{place.bucket}-replay-tape-1-2-3"
    line = [f"equity,account=a equity=1.5 {FIRST_S}"]
    assert written(place, line, bucket=name) == 204
    assert prepare_replay_bucket(place, "tape-1 2/3", fresh=False) == name
    assert len(held(place, name)) == 1
    prepare_replay_bucket(place, "tape-1 2/3", fresh=True)
    assert held(place, name) == {}
    assert held(place, place.bucket) == {}
    with pytest.raises(InfluxError, match="gives the live bucket"):
        prepare_replay_bucket(place.model_copy(update={"replay_bucket": "{bucket}"}), "x", fresh=True)


def test_the_commands_apply_show_and_print_tokens(
    place: InfluxSettings, cli: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIKETAPE_INFLUX__TOKEN", place.token.get_secret_value())
    chosen = ["--set", f"influx.url={place.url}", "--set", f"influx.org={place.org}", "--set", f"influx.bucket={place.bucket}"]
    missing = cli("influx", "show", *chosen, "--json")
    assert missing.code == 1
    assert json.loads(missing.out)["rows"][0]["found"] == "missing"
    first = cli("influx", "apply", *chosen, "--json")
    assert first.code == 0
    assert len(json.loads(first.out)["changes"]) == 10
    assert json.loads(cli("influx", "apply", *chosen, "--json").out) == {"changes": []}
    assert "nothing was changed" in cli("influx", "apply", *chosen).err
    assert cli("influx", "show", *chosen).code == 0
    token = cli("influx", "token", "writer", *chosen)
    assert (token.code, token.out.strip()) == (0, token_of(place, "writer"))
    cli("influx", "token", "owner", *chosen).told(2, "writer and reader")
    cli("influx", "apply", *chosen, "--set", "influx.retention_days=3").told(3, "--shorten")
    cli("influx", "downsample", "--from", "2013-10-08", "--to", "2013-10-07", *chosen).told(2, "must be later")
    assert cli("influx", "downsample", "--from", "2013-10-07", "--to", "2013-10-08", *chosen).code == 0
    assert place.token.get_secret_value() not in first.out + first.err


def test_what_is_declared_names_the_buckets_after_the_live_one() -> None:
    wanted = declared(InfluxSettings(bucket="live", retention_days=30, downsampled_days=365))
    assert [(b.name, b.retention_s) for b in wanted.buckets] == [
        ("live", 30 * 86_400),
        ("live-1s", 365 * 86_400),
        ("live-1m", 365 * 86_400),
        ("live-1h", 365 * 86_400),
    ]
    assert {t.description: (t.reads, t.writes) for t in wanted.tokens} == {
        "live writer": ((), ("live",)),
        "live reader": (("live", "live-1s", "live-1m", "live-1h"), ()),
    }

"""The endpoint: what it answers to whom, and that its numbers are those of the process."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.live.health import ANNOUNCEMENT, Health, watched
from operators.timeline.live import Live
from schemas.errors import UsageError
from schemas.settings import Settings, load_settings


def settings_with(*overrides: str) -> Settings:
    return load_settings(None, overrides, {})


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def health(live: Live, tmp_path: Path) -> Iterator[Health]:
    with watched(live, settings_with("health.stall_s=3600", "deployment=demo"), "signals", tmp_path) as health:
        yield health


def get(health: Health, path: str, accept: str = "") -> tuple[int, str, str]:
    assert health.address is not None
    host, port = health.address
    request = urllib.request.Request(f"http://{host}:{port}{path}", headers={"Accept": accept} if accept else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.headers["Content-Type"], e.read().decode()


def told(health: Health, path: str) -> tuple[int, dict[str, Any]]:
    status, content_type, body = get(health, path)
    assert content_type == "application/json"
    return status, json.loads(body)


def samples(health: Health) -> dict[tuple[str, str], float]:
    """Values by name and the label that is not deployment or flow."""
    out = {}
    for family in text_string_to_metric_families(get(health, "/metrics")[2]):
        for s in family.samples:
            own = [s.labels[k] for k in sorted(s.labels) if k not in ("deployment", "flow")]
            out[s.name, ",".join(own)] = s.value
    return out


def test_alive_from_the_start_ready_when_servers_are_reached_and_the_watermark_has_moved(live: Live, health: Health) -> None:
    broker = live.component("kafka")
    status, state = told(health, "/health")
    assert (status, state["ready"], state["standing"]) == (200, False, "starting")
    status, state = told(health, "/ready")
    assert (status, state["reasons"]) == (503, ["kafka: not reached yet"])
    broker.ok()
    assert told(health, "/ready")[0] == 503
    live.mark(0, 5)
    status, state = told(health, "/ready")
    assert (status, state["ready"], state["reasons"], state["standing"]) == (200, True, [], "moving")
    assert (state["deployment"], state["flow"]) == ("demo", "signals")


def test_a_component_that_fails_makes_it_unready_and_says_why_until_it_is_back(live: Live, health: Health) -> None:
    live.mark(0, 5)
    live.component("kafka").ok()
    spool = live.component("spool")
    spool.failing("full: 1,000 of 1,000 bytes")
    status, state = told(health, "/ready")
    assert (status, state["reasons"]) == (503, ["spool: full: 1,000 of 1,000 bytes"])
    assert state["components"]["spool"]["status"] == "failing"
    assert told(health, "/health")[0] == 200
    spool.ok()
    assert told(health, "/ready")[0] == 200


def test_a_silent_partition_is_ready_and_named(live: Live, health: Health) -> None:
    live.component("kafka").ok()
    live.mark(0, 5)
    live.mark(1, 5)
    assert told(health, "/ready")[0] == 200
    live.waiting(1)
    status, state = told(health, "/ready")
    assert (status, state["standing"], state["reasons"], state["waiting_for"]) == (200, "waiting", ["silent: partition 1"], ["1"])


def test_the_numbers_of_the_process_are_its_metrics(live: Live, health: Health) -> None:
    live.arrived(0, messages=2, ticks=500, size_bytes=36_000, event_ns=1_700_000_000_000_000_000)
    live.lag(0, 7)
    live.mark(0, 20)
    live.mark(1, 25)
    live.waiting(1)
    live.done(18)
    live.dead_letter("CRC", 3)
    live.refused("MAX_ORDER", 4)
    live.wrote("equity", 9)
    live.duplicates, live.sequence_holes, live.restarts = 1, 2, 3
    live.spool_bytes, live.spool_limit_bytes = 100, 1000
    live.epoch_began("ticks")
    live.component("kafka").ok()
    live.component("influx").failing("refused")
    for seconds in (0.0004, 0.003, 0.003, 60.0):
        live.transaction_s("signals").observe(seconds)
    live.write_s("influx").observe(0.05)
    m = samples(health)
    assert {k[0] for k in m if k[0].startswith("spiketape_")} >= {"spiketape_event_lag_seconds", "spiketape_epoch_age_seconds"}
    expected = {
        ("ticks_total", ""): 500,
        ("messages_total", ""): 2,
        ("received_bytes_total", ""): 36_000,
        ("duplicates_total", ""): 1,
        ("sequence_holes_total", ""): 2,
        ("restarts_total", ""): 3,
        ("dead_letters_total", "CRC"): 3,
        ("refusals_total", "MAX_ORDER"): 4,
        ("rows_total", "equity"): 9,
        ("lag_messages", "0"): 7,
        ("lag_messages", "1"): 0,
        ("event_time_seconds", "0"): 1.7e9,
        ("watermark_slice", "0"): 20,
        ("watermark_slice", "1"): 25,
        ("partition_waiting", "0"): 0,
        ("partition_waiting", "1"): 1,
        ("silent_seconds", "0"): 0,
        ("done_slice", ""): 18,
        ("slices_open", ""): 7,
        ("spool_bytes", ""): 100,
        ("spool_limit_bytes", ""): 1000,
        ("component_up", "kafka"): 1,
        ("component_up", "influx"): 0,
        ("transaction_seconds_count", "signals"): 4,
        ("transaction_seconds_bucket", "0.001,signals"): 1,
        ("transaction_seconds_bucket", "0.005,signals"): 3,
        ("transaction_seconds_bucket", "10.0,signals"): 3,
        ("transaction_seconds_bucket", "+Inf,signals"): 4,
        ("write_seconds_sum", "influx"): 0.05,
        ("stalled", ""): 0,
    }
    assert {k: m["spiketape_" + k[0], k[1]] for k in expected} == expected
    assert m["spiketape_transaction_seconds_sum", "signals"] == pytest.approx(60.0064)
    assert m["process_resident_memory_bytes", ""] > 1e6


def test_openmetrics_for_who_asks_for_it(live: Live, health: Health) -> None:
    status, content_type, body = get(health, "/metrics", "application/openmetrics-text; version=1.0.0")
    assert status == 200
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


def test_other_paths_are_not_there_and_other_methods_not_allowed(health: Health) -> None:
    status, state = told(health, "/secrets")
    assert (status, state["there"]) == (404, ["/health", "/ready", "/metrics"])
    assert health.address is not None
    with pytest.raises(urllib.error.HTTPError) as e:
        urllib.request.urlopen(f"http://127.0.0.1:{health.address[1]}/health", data=b"x", timeout=10)
    with e.value:
        assert e.value.code == 501


def test_it_listens_on_this_machine_only_and_says_where(health: Health, tmp_path: Path) -> None:
    assert health.address is not None
    host, port = health.address
    assert host == "127.0.0.1"
    assert port > 0
    assert json.loads((tmp_path / ANNOUNCEMENT).read_text()) == [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"deployment": "demo", "flow": "signals"}}
    ]


def test_the_file_of_targets_goes_away_and_the_port_is_free_again(tmp_path: Path) -> None:
    with watched(Live(), settings_with(), "book", tmp_path) as health:
        assert health.address is not None
        port = health.address[1]
    assert list(tmp_path.iterdir()) == []
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", port)) != 0


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do() -> None:
    with watched(Live(), settings_with(), "book") as health:
        assert health.address is not None
        with (
            pytest.raises(UsageError, match=rf"health\.port {health.address[1]}.*another port"),
            watched(Live(), settings_with(f"health.port={health.address[1]}"), "book"),
        ):
            pass


def test_switched_off_nothing_listens(tmp_path: Path) -> None:
    with watched(Live(), settings_with("health.enabled=false"), "book", tmp_path) as health:
        assert health.address is None
    assert list(tmp_path.iterdir()) == []


def test_a_client_that_says_nothing_holds_nobody_up(health: Health) -> None:
    assert health.address is not None
    with socket.create_connection(health.address):
        assert told(health, "/health")[0] == 200

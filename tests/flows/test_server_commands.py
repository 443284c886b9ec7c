"""The commands about local servers, and what doctor says of servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local import InfluxServer, MissingToolsError
from infra.local.standing import RECIPES, down, standing, up
from infra.local.tools import Tool
from tests.servers import home

Cli = Callable[..., Any]


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A folder for servers that stand on their own; those that a test leaves running are stopped."""
    for recipe in RECIPES.values():
        home(recipe)
    yield tmp_path / "data"
    down(tuple(RECIPES), tmp_path / "data", lambda _: None)


def test_up_starts_servers_prints_their_settings_and_down_stops_them(cli: Cli, data: Path) -> None:
    started = cli("servers", "up", "--data", data, "--json")
    assert started.code == 0, started.err
    told = json.loads(started.out)
    assert list(told["servers"]) == ["kafka", "influx", "prometheus"]
    assert told["settings"]["kafka.bootstrap_servers"] == f"127.0.0.1:{told['servers']['kafka']['port']}"
    assert told["environment"]["SPIKETAPE_INFLUX__URL"] == f"http://127.0.0.1:{told['servers']['influx']['port']}"
    assert {"influx.token", "influx.org", "influx.bucket"} < told["settings"].keys()

    status = json.loads(cli("servers", "status", "--data", data, "--json").out)
    assert all(s["running"] and s["answers"] for s in status.values())
    identities = [standing(name, data).identity for name in RECIPES]

    stopped = cli("servers", "down", "--data", data, "--json")
    assert json.loads(stopped.out) == {"stopped": ["kafka", "influx", "prometheus"]}
    assert not any(i is None or i.alive for i in identities)
    status = json.loads(cli("servers", "status", "--data", data, "--json").out)
    assert not any(s["running"] or s["answers"] for s in status.values())


def test_up_prints_lines_for_a_shell(cli: Cli, data: Path) -> None:
    lines = cli("servers", "up", "--data", data, "--only", "influx").out.splitlines()
    assert all(line.startswith("export SPIKETAPE_INFLUX__") for line in lines)
    assert len(lines) == 4


def test_second_up_on_a_folder_is_refused_and_leaves_the_first_alone(cli: Cli, data: Path) -> None:
    assert cli("servers", "up", "--data", data, "--only", "influx").code == 0
    first = standing("influx", data).identity
    cli("servers", "up", "--data", data, "--only", "prometheus,influx").told(3, "influx already runs on", "spiketape servers down")
    assert standing("influx", data).identity == first
    assert standing("influx", data).healthy()
    assert not standing("prometheus", data).running, "what a refused up had started is stopped again"


def test_settings_stay_the_same_over_down_and_up(cli: Cli, data: Path) -> None:
    first = cli("servers", "up", "--data", data, "--only", "influx", "--json").out
    cli("servers", "down", "--data", data)
    assert cli("servers", "up", "--data", data, "--only", "influx", "--json").out == first


def test_status_ends_with_1_where_a_running_server_does_not_answer(cli: Cli, data: Path) -> None:
    up(("influx",), data, lambda _: None)
    standing("influx", data).pause()
    ended = cli("servers", "status", "--data", data, "--only", "influx", "--json")
    assert ended.code == 1
    assert json.loads(ended.out)["influx"]["answers"] is False
    cli("servers", "down", "--data", data)
    assert not standing("influx", data).running, "a frozen server is stopped too"


def test_unknown_server_is_wrong_use(cli: Cli) -> None:
    cli("servers", "up", "--only", "kafka,zookeeper").told(2, "'zookeeper' is no server", "allowed are kafka, influx, prometheus")


def test_fetch_where_possible_goes_on_unless_ci_is_set(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETAPE_CACHE", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    for name, recipe in RECIPES.items():
        lacking = type(recipe)(recipe.name, recipe.version, (Tool("no-such-program", otherwise="nowhere"),), recipe.files, recipe.make)
        monkeypatch.setitem(RECIPES, name, lacking)
    ended = cli("servers", "fetch", "--where-possible", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {})
    assert "no-such-program: nowhere" in ended.err
    cli("servers", "fetch").told(MissingToolsError.exit_code, "no-such-program: nowhere")
    monkeypatch.setenv("CI", "1")
    cli("servers", "fetch", "--where-possible").told(1, "no-such-program: nowhere")


def test_doctor_tells_servers_that_answer_and_blames_only_those_that_settings_name(
    cli: Cli, influx: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found() -> dict[str, Any]:
        return {c["what"]: c for c in json.loads(cli("doctor", "--json").out)["checks"]}

    monkeypatch.setenv("SPIKETAPE_INFLUX__URL", influx.url)
    monkeypatch.setenv("SPIKETAPE_INFLUX__TOKEN", influx.token)
    seen = found()
    assert seen["influx of the settings"]["ok"]
    assert "bucket spiketape is there" in seen["influx of the settings"]["found"]
    monkeypatch.setenv("SPIKETAPE_INFLUX__TOKEN", "wrong")
    monkeypatch.setenv("SPIKETAPE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    seen = found()
    assert not seen["influx of the settings"]["ok"]
    assert "401" in seen["influx of the settings"]["found"]
    assert "nobody answers at 127.0.0.1:1" in seen["kafka of the settings"]["found"]
    assert not seen["kafka of the settings"]["ok"]

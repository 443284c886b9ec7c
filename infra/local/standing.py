"""Servers that stand on their own on this machine: started by one command, found and stopped by another, each in a folder of `data`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.local.influx import InfluxServer
from infra.local.influx_build import INFLUX
from infra.local.kafka import KafkaServer
from infra.local.kafka_build import KAFKA
from infra.local.prometheus import PrometheusServer
from infra.local.prometheus_build import PROMETHEUS
from infra.local.recipe import Recipe, Say
from infra.local.server import LocalServer
from infra.place import cache_dir
from schemas.errors import UsageError

RECIPES: dict[str, Recipe] = {"kafka": KAFKA, "influx": INFLUX, "prometheus": PROMETHEUS}
SERVERS: dict[str, Callable[..., LocalServer]] = {"kafka": KafkaServer, "influx": InfluxServer, "prometheus": PrometheusServer}


ALERTS = Path(__file__).resolve().parents[1] / "prometheus" / "alerts.yml"
FLOWS = ("trading", "signals", "book", "venue", "record")


def default_data() -> Path:
    """Where the servers of this user have their data."""
    return cache_dir() / "data"


def chosen(only: str | None) -> tuple[str, ...]:
    """Names of servers from a list with commas; all of them for None. Raises UsageError for a name that is none of them."""
    names = tuple(SERVERS) if only is None else tuple(dict.fromkeys(n.strip() for n in only.split(",")))
    if unknown := [n for n in names if n not in SERVERS]:
        msg = f"--only {only}: {', '.join(map(repr, unknown))} is no server; allowed are {', '.join(SERVERS)}"
        raise UsageError(msg)
    return names


def standing(name: str, data: Path) -> LocalServer:
    """The server of a folder, running or not."""
    return SERVERS[name](data.resolve() / name, detached=True)


def watching(runs: Sequence[Path]) -> str:
    """The configuration of a Prometheus that asks the processes of these run folders while they run, and has the alert rules.

    Each running process says in its run folder where it listens (flows/live/health.py). Every JSON text is YAML too.
    """
    files = [str(run.resolve() / "health.json") for run in runs]
    job = {"job_name": "spiketape", "honor_labels": True, "file_sd_configs": [{"files": files, "refresh_interval": "5s"}]}
    often = {"scrape_interval": "5s", "evaluation_interval": "5s"}
    return json.dumps({"global": often, "rule_files": [str(ALERTS)], "scrape_configs": [job] if files else []}, indent=1)


def default_runs(deployment: str) -> list[Path]:
    """Where the flows of a deployment have their run folders when nothing else is said."""
    return [Path("runs") / f"{deployment}-{flow}" for flow in FLOWS]


def up(names: Sequence[str], data: Path, say: Say, runs: Sequence[Path] = ()) -> list[LocalServer]:
    """Starts servers, fetched first where they are missing, and returns them when all answer. Prometheus watches the processes of `runs`.

    If one cannot start, those that this call has started are stopped. Raises RefusedError where one of them runs there already.
    """
    for name in names:
        RECIPES[name].fetched(say)
    started: list[LocalServer] = []
    try:
        for name in names:
            server = standing(name, data)
            if isinstance(server, PrometheusServer):
                server.config = watching(runs)
            began = time.monotonic()
            started.append(server.start())
            say(f"{name}: answers at port {server.port} after {time.monotonic() - began:.1f} s, data in {server.data}")
    except BaseException:
        down([s.name for s in started], data, say)
        raise
    return started


def down(names: Sequence[str], data: Path, say: Say) -> list[str]:
    """Stops servers, with their children, and returns the names of those that ran."""
    stopped = []
    for name in names:
        server = standing(name, data)
        if server.running:
            server.stop()
            stopped.append(name)
            say(f"{name}: stopped; its data stays in {server.data}")
    return stopped


def settings_to_use(server: LocalServer) -> dict[str, str]:
    """The settings with which spiketape uses this server."""
    if isinstance(server, KafkaServer):
        return {"kafka.bootstrap_servers": server.bootstrap}
    if isinstance(server, InfluxServer):
        return {"influx.url": server.url, "influx.token": server.token, "influx.org": server.org, "influx.bucket": server.bucket}
    return {}


def variable(setting: str) -> str:
    """The environment variable of a setting."""
    return "SPIKETAPE_" + setting.upper().replace(".", "__")

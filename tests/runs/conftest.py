"""Whole runs: what they are made of. Tapes are simulated once per session; the model is the package's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.live.deployment import Deployment
from flows.replay import Execution, Outcome, replay
from operators.sinks import LakeReader
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from schemas.settings import load_settings
from tests.servers import Influx, Kafka

ROOT = Path(__file__).parents[2]
TICKS = 150_000


@pytest.fixture(scope="session")
def tapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Tape]:
    """Simulated tapes by their parameters, each made once."""
    folder = tmp_path_factory.mktemp("tapes")

    def tape(ticks: int = TICKS, seed: int = 5, **options: Any) -> Tape:
        path = folder / "-".join(map(str, (ticks, seed, *(f"{k}{v}" for k, v in options.items()))))
        if not path.exists():
            simulate(path, ticks, seed, **options)
        return Tape.open(path)

    return tape


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """Replays a tape into a folder of its own; the same arguments are run once."""
    folder = tmp_path_factory.mktemp("runs")
    done: dict[str, Outcome] = {}

    def run(tape: Tape, *overrides: str, forget: bool = False, **execution: Any) -> Outcome:
        name = json.dumps([tape.path.name, overrides, forget, sorted(execution.items())])
        if name not in done:
            settings = load_settings(None, overrides, {})
            done[name] = replay(tape, settings, None, folder / f"run{len(done)}", Execution(**execution), forget=forget)
        return done[name]

    return run


@pytest.fixture
def spiketape(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, in an empty folder."""

    def call(*arguments: str | Path, env: dict[str, str] | None = None, timeout: float = 240, **options: Any) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "flows", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **options,
        )

    return call


@pytest.fixture
def deployed(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Deployment]]:
    """Makes a deployment over a tape with topics of its own; what still runs of it is killed at the end."""
    made: list[Deployment] = []

    def make(tape: Path, influx: Influx | None = None, broker: Kafka | None = None, **options: Any) -> Deployment:
        name = f"t{zlib.crc32(request.node.nodeid.encode())}-{len(made)}"
        bootstrap = (broker or request.getfixturevalue("kafka")).bootstrap
        deployment = Deployment(tmp_path / name, tape, bootstrap, influx, name=name, **options)
        made.append(deployment)
        deployment.call("topics", "apply")
        if influx is not None:
            deployment.call("influx", "apply")
        return deployment

    yield make
    for deployment in made:
        deployment.stop()


def rows_of(outcome: Outcome, table: str) -> dict[str, Any]:
    """Rows of a table of a run by key, as integer arrays in the order of n."""
    return {k.key: k.rows for k in LakeReader(outcome.folder.lake).table(table).keys}

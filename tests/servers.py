"""Real servers for tests: one of each for the whole run, and own ones for tests that kill or freeze them.

Where a Docker engine runs and has the image, the broker and the InfluxDB of the whole run are containers (testcontainers); otherwise, and
always for own servers, they are processes of this machine (infra/local). The head of the run says which. Where a server cannot be had, a
test that wants it is skipped with what to install; with the environment variable CI set it fails instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

from infra.local import FetchError, InfluxServer, KafkaServer, LocalServer, PrometheusServer
from infra.local.influx_build import INFLUX
from infra.local.kafka_build import KAFKA
from infra.local.prometheus_build import PROMETHEUS
from infra.local.recipe import Recipe

Local = TypeVar("Local", bound=LocalServer)

IMAGES = {"kafka": "apache/kafka:4.0.0", "influx": "influxdb:2.7.12"}
RECIPES = {"kafka": KAFKA, "influx": INFLUX, "prometheus": PROMETHEUS}


class Kafka(Protocol):
    """What a test may ask of the broker of the whole run."""

    @property
    def bootstrap(self) -> str: ...


class Influx(Protocol):
    """What a test may ask of the InfluxDB of the whole run."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...

    org: str
    bucket: str


@dataclass(frozen=True)
class InContainer:
    """A server in a container: the attributes of the local ones that do not need a process of this machine."""

    bootstrap: str = ""
    url: str = ""
    token: str = ""
    org: str = "spiketape"
    bucket: str = "spiketape"


@cache
def images_there() -> frozenset[str]:
    """Names of the servers whose images a Docker engine of this machine has; none where no engine answers."""
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return frozenset()
    import docker

    try:
        engine = docker.from_env(timeout=5)
        tags = {tag for image in engine.images.list() for tag in image.tags}
    except docker.errors.DockerException:
        return frozenset()
    return frozenset(name for name, image in IMAGES.items() if image in tags)


def way(name: str) -> str:
    """How a server of the whole run is had here, for the head of the run."""
    if name in images_there():
        return f"Docker, {IMAGES[name]}"
    recipe = RECIPES[name]
    if recipe.finished:
        return f"local, {recipe.place}"
    missing = ", ".join(t.program for t in recipe.missing_tools)
    return f"none, missing {missing}" if missing else "local, made first"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Says how each server is had; not a report header, which a quiet run does not show."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for name in RECIPES:
            reporter.write_line(f"{name}: {way(name)}")


def home(recipe: Recipe) -> Path:
    """The folder of a server, made first where it is missing and can be; else the test is skipped, in CI it fails."""
    place, why = _tried(recipe)
    if place is not None:
        return place
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, so this server must be there: {why}")
    pytest.skip(why)


@cache
def _tried(recipe: Recipe) -> tuple[Path | None, str]:
    try:
        return recipe.fetched(print), ""
    except FetchError as e:
        return None, str(e)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One broker for the whole run: give topics and transactional ids names of your own."""
    if "kafka" in images_there():
        from testcontainers.community.kafka import KafkaContainer

        with KafkaContainer(IMAGES["kafka"]).with_kraft() as container:
            yield InContainer(bootstrap=container.get_bootstrap_server())
        return
    yield from _served(KafkaServer(tmp_path_factory.mktemp("kafka"), home=home(KAFKA)))


@pytest.fixture(scope="session")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """One InfluxDB for the whole run: make buckets of your own."""
    if "influx" in images_there():
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.wait_strategies import HttpWaitStrategy

        token = "owner-token-of-this-test-run"
        setup = {"MODE": "setup", "USERNAME": "owner", "PASSWORD": "password-of-this-test-run", "ORG": "spiketape", "BUCKET": "spiketape"}
        container = DockerContainer(IMAGES["influx"]).with_exposed_ports(8086).waiting_for(HttpWaitStrategy(8086, "/health"))
        for key, value in {**setup, "ADMIN_TOKEN": token}.items():
            container.with_env(f"DOCKER_INFLUXDB_INIT_{key}", value)
        with container:
            yield InContainer(url=f"http://{container.get_container_host_ip()}:{container.get_exposed_port(8086)}", token=token)
        return
    yield from _served(InfluxServer(tmp_path_factory.mktemp("influx"), program=home(INFLUX) / "influxd"))


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """One Prometheus for the whole run; `reload` gives it the configuration of a test."""
    yield from _served(PrometheusServer(tmp_path_factory.mktemp("prometheus"), home=home(PROMETHEUS)))


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[Callable[..., KafkaServer]]:
    """Starts brokers of a test's own: `own_kafka(properties=...)`; each may be killed, frozen, restarted."""
    with ExitStack() as ends:

        def start(**options: Any) -> KafkaServer:
            server = KafkaServer(_own_folder(tmp_path, "kafka"), home=home(KAFKA), **options).start()
            ends.callback(_ended, server)
            return server

        yield start


@pytest.fixture
def own_influx(tmp_path: Path) -> Iterator[Callable[..., InfluxServer]]:
    """Starts InfluxDBs of a test's own; each may be killed, frozen, restarted."""
    with ExitStack() as ends:

        def start(**options: Any) -> InfluxServer:
            server = InfluxServer(_own_folder(tmp_path, "influx"), program=home(INFLUX) / "influxd", **options).start()
            ends.callback(_ended, server)
            return server

        yield start


def _served(server: Local) -> Iterator[Local]:
    try:
        yield server.start()
    finally:
        _ended(server)


def _own_folder(folder: Path, name: str) -> Path:
    return folder / f"{name}-{sum(1 for _ in folder.glob(f'{name}-*'))}"


def _ended(server: LocalServer) -> None:
    server.kill()
    shutil.rmtree(server.data, ignore_errors=True)

"""Real servers for tests: one of each for the whole run, and own ones for tests that kill or freeze them.

Where a Docker engine runs and has the image, the broker and the InfluxDB of the whole run are containers (testcontainers); otherwise, and
always for own servers, they are processes of this machine (infra/local). The head of the run says which. Where a server cannot be had, a
test that wants it is skipped with what to install; with the environment variable CI set it fails instead.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.local import FetchError, InfluxServer, KafkaServer, LocalServer, PrometheusServer
from infra.local.influx_build import INFLUX
from infra.local.kafka_build import KAFKA
from infra.local.ports import free_port
from infra.local.prometheus_build import PROMETHEUS
from infra.local.recipe import Recipe

KAFKA_CONTAINER = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "KAFKA_LISTENERS": "INSIDE://:19092,OUTSIDE://:9092,CONTROLLER://:9093",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "INSIDE",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "KAFKA_LOG_DIRS": "/var/lib/kafka/data",
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
}
INFLUX_CONTAINER = {
    "DOCKER_INFLUXDB_INIT_MODE": "setup",
    "DOCKER_INFLUXDB_INIT_USERNAME": "owner",
    "DOCKER_INFLUXDB_INIT_PASSWORD": "password-of-this-test-run",
    "DOCKER_INFLUXDB_INIT_ADMIN_TOKEN": "owner-token-of-this-test-run",
    "DOCKER_INFLUXDB_INIT_ORG": "spiketape",
    "DOCKER_INFLUXDB_INIT_BUCKET": "spiketape",
}
Local = TypeVar("Local", bound=LocalServer)

IMAGES = {"kafka": ("apache/kafka:4.0.0", "spiketape-kafka:local"), "influx": ("influxdb:2.7.12", "spiketape-influx:local")}
"""Of a registry, or made by infra/images/build.sh, which take the same variables."""
REAPER = "testcontainers/ryuk"
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
def images_there() -> dict[str, str]:
    """Images, by server, that a Docker engine of this machine has; none where no engine answers."""
    if not (os.environ.get("DOCKER_HOST") or Path("/var/run/docker.sock").exists()):
        return {}
    import docker

    try:
        engine = docker.from_env(timeout=5)
        tags = {tag for image in engine.images.list() for tag in image.tags}
    except docker.errors.DockerException:
        return {}
    if not any(tag.startswith(REAPER) for tag in tags):
        from testcontainers.core.config import testcontainers_config

        testcontainers_config.ryuk_disabled = True
    there = {name: [i for i in images if i in tags] for name, images in IMAGES.items()}
    return {name: images[0] for name, images in there.items() if images}


def way(name: str) -> str:
    """How a server of the whole run is had here, for the head of the run."""
    if name in images_there():
        return f"Docker, {images_there()[name]}"
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
    if image := images_there().get("kafka"):
        port = free_port()
        # a broker asks itself about transactions: inside of its container it cannot reach the port that is published
        told = {"KAFKA_ADVERTISED_LISTENERS": f"INSIDE://localhost:19092,OUTSIDE://localhost:{port}"}
        with _container(image, KAFKA_CONTAINER | told, {9092: port}):
            server = InContainer(bootstrap=f"localhost:{port}")
            _await(server.bootstrap)
            yield server
        return
    yield from _served(KafkaServer(tmp_path_factory.mktemp("kafka"), home=home(KAFKA)))


@pytest.fixture(scope="session")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    """One InfluxDB for the whole run: make buckets of your own."""
    if image := images_there().get("influx"):
        port = free_port()
        with _container(image, INFLUX_CONTAINER, {8086: port}, ready="/health"):
            yield InContainer(url=f"http://localhost:{port}", token=INFLUX_CONTAINER["DOCKER_INFLUXDB_INIT_ADMIN_TOKEN"])
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


@contextmanager
def _container(image: str, env: dict[str, str], ports: dict[int, int], ready: str | None = None) -> Iterator[None]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import HttpWaitStrategy

    container = DockerContainer(image)
    for key, value in env.items():
        container.with_env(key, value)
    for inside, outside in ports.items():
        container.with_bind_ports(inside, outside)
        if ready is not None:
            container.waiting_for(HttpWaitStrategy(inside, ready))
    with container:
        yield


def _await(bootstrap: str) -> None:
    client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    until = time.monotonic() + 60
    while True:
        try:
            assert client.list_topics(timeout=2).brokers
            return
        except KafkaException:
            if time.monotonic() > until:
                raise


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

"""The local servers themselves: they start, keep what they have through kill -9, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from flows.live.health import HealthServer
from flows.live.watchdog import Progress
from infra.local import InfluxServer, KafkaServer, PrometheusServer, ServerError, promtool
from infra.local.influx_build import INFLUX
from infra.local.process import Identity
from infra.local.prometheus_build import PROMETHEUS
from infra.local.standing import watching
from operators.timeline.live import Live
from schemas.errors import RefusedError
from tests.servers import home

ROOT = Path(__file__).resolve().parents[2]


def made_topic(kafka: KafkaServer, name: str) -> None:
    """A topic of one partition."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(name, 1)])[name].result(30)


def sent(kafka: KafkaServer, topic: str, *values: bytes) -> None:
    """Messages that the broker has acknowledged."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(30) == 0


def committed(kafka: KafkaServer, topic: str) -> list[bytes]:
    """All committed values of a topic of one partition."""
    reader = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": f"reader-{time.monotonic_ns()}",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    reader.subscribe([topic])
    values: list[bytes] = []
    try:
        while True:
            message = reader.poll(30)
            assert message is not None
            if message.error() is None:
                values.append(message.value())
            elif message.error().code() == KafkaError._PARTITION_EOF:
                return values
            else:
                raise KafkaException(message.error())
    finally:
        reader.close()


def points(influx: InfluxServer) -> int:
    """How many points of measurement `m` the bucket has."""
    flux = f'from(bucket: "{influx.bucket}") |> range(start: 0) |> filter(fn: (r) => r._measurement == "m") |> count()'
    question = asked(influx, f"/api/v2/query?org={influx.org}", flux.encode(), "application/vnd.flux")
    rows = [line.split(",") for line in question.decode().split("\r\n") if line]
    return 0 if not rows else int(rows[1][rows[0].index("_value")])


def asked(influx: InfluxServer, path: str, body: bytes, kind: str) -> bytes:
    """An answer of its API to the owner."""
    headers = {"Authorization": f"Token {influx.token}", "Content-Type": kind}
    with urllib.request.urlopen(urllib.request.Request(influx.url + path, body, headers), timeout=30) as answer:
        return bytes(answer.read())


def written(influx: InfluxServer, *lines: str) -> None:
    """Points that the server has acknowledged."""
    asked(influx, f"/api/v2/write?org={influx.org}&bucket={influx.bucket}&precision=ns", "\n".join(lines).encode(), "text/plain")


def test_broker_keeps_its_messages_and_port_through_kill_9(own_kafka: Callable[..., KafkaServer]) -> None:
    kafka = own_kafka()
    bootstrap = kafka.bootstrap
    made_topic(kafka, "kept")
    sent(kafka, "kept", b"before")
    kafka.kill()
    assert not kafka.running
    kafka.start()
    assert kafka.bootstrap == bootstrap
    sent(kafka, "kept", b"after")
    assert committed(kafka, "kept") == [b"before", b"after"]
    kafka.restart()
    assert committed(kafka, "kept") == [b"before", b"after"]


def test_newer_producer_fences_the_older_one_and_its_messages_are_never_seen(own_kafka: Callable[..., KafkaServer]) -> None:
    kafka = own_kafka()
    made_topic(kafka, "fenced")
    identity = {"bootstrap.servers": kafka.bootstrap, "transactional.id": "the-same"}
    older, newer = Producer(identity), Producer(identity)
    older.init_transactions(30)
    older.begin_transaction()
    older.produce("fenced", b"of the older")
    older.flush(30)
    newer.init_transactions(30)
    newer.begin_transaction()
    newer.produce("fenced", b"of the newer")
    newer.commit_transaction(30)
    with pytest.raises(KafkaException) as told:
        older.commit_transaction(30)
    assert told.value.args[0].code() == KafkaError._FENCED
    assert told.value.args[0].fatal()
    assert committed(kafka, "fenced") == [b"of the newer"]


def test_open_transaction_of_a_killed_broker_can_be_aborted_by_its_next_owner(own_kafka: Callable[..., KafkaServer]) -> None:
    kafka = own_kafka()
    made_topic(kafka, "open")
    identity = {"bootstrap.servers": kafka.bootstrap, "transactional.id": "t"}
    first = Producer(identity)
    first.init_transactions(30)
    first.begin_transaction()
    first.produce("open", b"never committed")
    assert first.flush(30) == 0
    kafka.kill()
    kafka.start()
    second = Producer(identity)
    second.init_transactions(60)
    second.begin_transaction()
    second.produce("open", b"committed")
    second.commit_transaction(30)
    assert committed(kafka, "open") == [b"committed"]


def test_topics_are_not_made_by_writing_to_them(own_kafka: Callable[..., KafkaServer]) -> None:
    kafka = own_kafka()
    failures: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "message.timeout.ms": 2000, "log_level": 0})
    producer.produce("nobody-declared-it", b"x", on_delivery=lambda error, _: failures.append(error))
    producer.flush(30)
    assert len(failures) == 1
    assert "nobody-declared-it" not in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics


def test_frozen_broker_does_not_answer_and_goes_on_where_it_was(own_kafka: Callable[..., KafkaServer]) -> None:
    kafka = own_kafka()
    made_topic(kafka, "frozen")
    sent(kafka, "frozen", b"1")
    kafka.pause()
    assert kafka.running
    assert not kafka.healthy()
    kafka.resume()
    sent(kafka, "frozen", b"2")
    assert committed(kafka, "frozen") == [b"1", b"2"]


def test_influx_keeps_its_points_token_and_port_through_kill_9(own_influx: Callable[..., InfluxServer]) -> None:
    influx = own_influx()
    was = (influx.url, influx.token)
    written(influx, "m f=1 1", "m f=2 2")
    influx.kill()
    again = InfluxServer(influx.data).start()
    try:
        assert (again.url, again.token) == was
        written(again, "m f=3 3")
        assert points(again) == 3
    finally:
        again.stop()


def test_token_of_influx_can_be_read_by_its_owner_only(own_influx: Callable[..., InfluxServer]) -> None:
    influx = own_influx()
    assert (influx.data / "token").stat().st_mode & 0o077 == 0
    assert influx.token not in (influx.data / "server.log").read_text()


def test_prometheus_takes_another_configuration_and_refuses_a_wrong_one(prometheus: PrometheusServer) -> None:
    prometheus.reload('global: {scrape_interval: 1s}\nscrape_configs: [{job_name: itself, static_configs: [{targets: ["127.0.0.1:1"]}]}]\n')
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/status/config", timeout=10) as answer:
        assert "job_name: itself" in json.load(answer)["data"]["yaml"]
    with pytest.raises(ServerError, match="refuses the configuration"):
        prometheus.reload("scrape_configs: 7\n")


def test_prometheus_watches_a_process_from_when_it_says_where_it_listens(tmp_path: Path, prometheus: PrometheusServer) -> None:
    def asked_of(path: str) -> Any:
        with urllib.request.urlopen(f"{prometheus.url}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    prometheus.reload(watching([tmp_path / "not-yet", tmp_path]).replace('"5s"', '"200ms"'))
    assert {r["name"] for g in asked_of("rules")["groups"] for r in g["rules"]} > {"ProcessDown", "ComponentFailing"}
    live = Live()
    server = HealthServer(live, Progress(live, 60.0), "127.0.0.1", 0, "spiketape", "watched")
    server.start()
    try:
        server.announce(tmp_path / "health.json")
        until = time.monotonic() + 60
        while not (found := asked_of('query?query=up{job="spiketape",flow="watched"}==1')["result"]):
            assert time.monotonic() < until
            time.sleep(0.1)
        assert found[0]["metric"]["instance"] == server.url.removeprefix("http://")
    finally:
        server.stop()


def test_promtool_is_there() -> None:
    home(PROMETHEUS)
    assert "promtool" in subprocess.run([promtool(), "--version"], capture_output=True, text=True, check=True).stdout


def test_second_start_on_one_folder_is_refused_and_names_the_first(own_influx: Callable[..., InfluxServer]) -> None:
    influx = own_influx()
    there = influx.identity
    assert there is not None
    with pytest.raises(RefusedError, match=f"process {there.pid} at port {influx.port}"):
        InfluxServer(influx.data).start()
    assert influx.healthy()


def test_demanded_port_that_is_taken_is_an_error_that_names_it(own_influx: Callable[..., InfluxServer], tmp_path: Path) -> None:
    influx = own_influx()
    with pytest.raises(ServerError, match=f"port {influx.port}: another process listens there"):
        InfluxServer(tmp_path / "second", influx.port).start()


def test_folder_whose_port_was_taken_meanwhile_gets_another(own_influx: Callable[..., InfluxServer], tmp_path: Path) -> None:
    influx = own_influx()
    (tmp_path / "moved").mkdir()
    Identity(2**22 + 1, "long ago", {"port": influx.port}).write(tmp_path / "moved")
    with InfluxServer(tmp_path / "moved") as moved:
        assert moved.port != influx.port
        assert moved.healthy()


def test_server_that_ends_while_it_starts_tells_the_end_of_its_log(tmp_path: Path) -> None:
    program = home(INFLUX) / "influxd"
    with pytest.raises(ServerError, match=r"(?s)ended while it started.*unknown flag: --no-such-option"):
        InfluxServer(tmp_path / "influx", program=program, options=["--no-such-option"]).start()
    with pytest.raises(ServerError, match="could not be started"):
        InfluxServer(tmp_path / "none", program=tmp_path / "no-such-program").start()


def test_pid_given_anew_to_another_process_is_not_taken_for_the_server(tmp_path: Path) -> None:
    home(INFLUX)
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        folder = tmp_path / "influx"
        folder.mkdir()
        Identity(bystander.pid, "another start time", {"port": 1}).write(folder)
        server = InfluxServer(folder)
        assert not server.running
        server.stop()
        server.kill()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


PARENT = """
import sys, time
from pathlib import Path
from typing import Any
from flows.live.health import HealthServer
from flows.live.watchdog import Progress
from infra.local import InfluxServer, KafkaServer, PrometheusServer

servers = [kind(Path(sys.argv[1]) / kind.name).start() for kind in (KafkaServer, InfluxServer, PrometheusServer)]
print(*(s.identity.pid for s in servers), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_server_outlives_the_process_that_started_it(tmp_path: Path, number: signal.Signals) -> None:
    from infra.local.standing import RECIPES

    for recipe in RECIPES.values():
        home(recipe)
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    assert len(parent.stdout.readline().split()) == 3
    identities = [Identity.read(tmp_path / kind) for kind in ("kafka", "influx", "prometheus")]
    assert all(identity is not None and identity.alive for identity in identities)
    parent.send_signal(number)
    parent.wait()
    parent.stdout.close()
    for identity in identities:
        assert identity is not None
        assert identity.gone(30)


def test_no_server_outlives_its_keeper(tmp_path: Path) -> None:
    home(INFLUX)
    server = InfluxServer(tmp_path / "influx").start()
    there = server.identity
    assert there is not None
    keeper = int(Path(f"/proc/{there.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(keeper, signal.SIGKILL)
    assert there.gone(30)
    server.stop()

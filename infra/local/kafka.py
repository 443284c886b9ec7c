"""A Kafka broker of this machine: broker and controller in one process (KRaft), from the jars that kafka_build.py fetched."""

from __future__ import annotations

import base64
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.local.errors import ServerError
from infra.local.server import LocalServer
from infra.local.tools import JAVA, demand

LOG4J = """\
Configuration:
  Appenders:
    Console:
      name: STDOUT
      PatternLayout:
        Pattern: "%d{ISO8601} %p %c: %m%n"
  Loggers:
    Root:
      level: WARN
      AppenderRef:
        - ref: STDOUT
    Logger:
      - name: kafka.server.KafkaRaftServer
        level: INFO
"""


class KafkaServer(LocalServer):
    """A broker with one node: every replication factor is 1, topics are not created by using them.

    `home`: folder with the jars; None fetches them where they are not in the cache. `properties`: broker properties that are added
    or replaced. `heap_mb`: the Java heap.
    """

    name = "kafka"
    ports = ("port", "controller_port")

    def __init__(
        self,
        data: Path,
        port: int | None = None,
        *,
        home: Path | None = None,
        properties: Mapping[str, str] | None = None,
        heap_mb: int = 512,
        detached: bool = False,
    ) -> None:
        super().__init__(data, port, detached=detached)
        self._home = home
        self._properties = dict(properties or {})
        self._heap_mb = heap_mb

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    def healthy(self) -> bool:
        """Whether the broker gives the cluster's metadata with itself in it."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
            return bool(client.list_topics(timeout=2).brokers)
        except (OSError, KafkaException):
            return False

    def _prepare(self) -> None:
        if self._home is None:
            from infra.local.kafka_build import KAFKA

            self._home = KAFKA.fetched()
        demand(self.name, () if JAVA.there else (JAVA,), lambda _: None)
        ports = self.ports_used
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{ports['controller_port']}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{ports['port']},CONTROLLER://127.0.0.1:{ports['controller_port']}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str((self.data / "log").resolve()),
            "auto.create.topics.enable": "false",
            "default.replication.factor": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "8",
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "2000",
            "broker.heartbeat.interval.ms": "500",
            **self._properties,
        }
        (self.data / "log4j2.yaml").write_text(LOG4J)
        self._config.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        if not (self.data / "log" / "meta.properties").exists():
            self._format()

    @property
    def _config(self) -> Path:
        return self.data / "server.properties"

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        told = subprocess.run(
            [*self._java(64), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._config)],
            capture_output=True,
            text=True,
            check=False,
        )
        if told.returncode:
            msg = f"kafka's storage in {self.data} could not be formatted:\n{told.stdout}{told.stderr}"
            raise ServerError(msg)

    def _command(self) -> Sequence[str]:
        return [*self._java(self._heap_mb), "kafka.Kafka", str(self._config)]

    def _java(self, heap_mb: int) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self.data / 'log4j2.yaml'}"
        return ["java", f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", log4j, "-cp", f"{self._home}/libs/*"]

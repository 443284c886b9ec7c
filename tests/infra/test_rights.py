"""The declared rights, on a broker that asks for them: with just these every command does its work, with one less it names that one.

One broker with ACLs and a SASL user for each attempt. A super user makes topics and ticks; then the commands run in this process, in the
order of a deployment. Flows are given up after seconds, not minutes, where the broker forbids something.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from flows.control import close_partition
from flows.produce import Playing, produce
from infra.local import KafkaServer
from infra.local.kafka_build import KAFKA
from infra.local.ports import free_port
from infra.rights import RIGHTS, TOPICS, Right, rights_table
from infra.topics import apply, declared
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from schemas.errors import BrokerError
from schemas.settings import Settings, load_settings
from schemas.topics import AUDIT, INSTRUMENTS, TICKS
from tests.conftest import Ended
from tests.servers import home

NAME, PREFIX, APART, OPEN = "guarded", "g.", "one-process.", "open."
KEY = "0123456789abcdef"
COUNT = 1_000
EXCLUDE = "control exclude-partition"
KINDS = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "transactional id": ResourceType.TRANSACTIONAL_ID}
INCLUDED = {"ALTER_CONFIGS": "DESCRIBE_CONFIGS"}
"""A right that a larger one includes, and that is asked for first."""
PASSWORD = "open-sesame"


@dataclass(frozen=True)
class Guarded:
    """The broker: where anybody is a super user, where users must say who they are, the tape in its topics."""

    plain: str
    safe: str
    tape: Tape

    def granted(self, user: str, rights: tuple[Right, ...], prefix: str = PREFIX) -> None:
        """Gives a user rights, and waits until the broker knows them."""
        admin = AdminClient({"bootstrap.servers": self.plain, "log_level": 0})
        for future in admin.create_acls([binding(user, right, prefix) for right in rights]).values():
            future.result(20)
        of_user = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, AclOperation.ANY, AclPermissionType.ANY
        )
        while len(admin.describe_acls(of_user).result(20)) < len(set(rights)):
            pass

    def options(self, user: str, prefix: str = PREFIX) -> list[str]:
        """How a command is told to be that user."""
        kafka = {"bootstrap_servers": self.safe, "topic_prefix": prefix, "outage_s": "5", "answer_timeout_s": "5"}
        sasl = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": PASSWORD}
        given = {"deployment": NAME, "control.key": KEY, **{f"kafka.{k}": v for k, v in kafka.items()}}
        given |= {f"kafka.librdkafka.{k}": v for k, v in sasl.items()}
        return [part for name, value in given.items() for part in ("--set", f"{name}={value}")]


def binding(user: str, right: Right, prefix: str) -> AclBinding:
    """A right as the broker keeps it."""
    name = prefix + right.name if right.kind == "topic" else NAME + right.name
    pattern = ResourcePatternType.LITERAL if right.kind == "topic" else ResourcePatternType.PREFIXED
    return AclBinding(KINDS[right.kind], name, pattern, f"User:{user}", "*", AclOperation[right.operation], AclPermissionType.ALLOW)


def deployed(server: str, prefix: str, *more: str) -> Settings:
    """Settings of the deployment."""
    return load_settings(None, (f"kafka.bootstrap_servers={server}", f"kafka.topic_prefix={prefix}", f"deployment={NAME}", *more), env={})


USERS = (f"u{i}" for i in itertools.count())


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    at = {name: f"127.0.0.1:{free_port()}" for name in ("PLAINTEXT", "SAFE", "CONTROLLER")}
    listeners = [f"{name}://{address}" for name, address in at.items()]
    users = " ".join(f'user_u{i}="{PASSWORD}"' for i in range(200))
    properties = {
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(listeners[:-1]),
        "controller.quorum.voters": f"1@{at['CONTROLLER']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SAFE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.safe.plain.sasl.jaas.config": f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with KafkaServer(folder / "kafka", int(at["PLAINTEXT"].split(":")[1]), home=home(KAFKA), properties=properties):
        simulate(folder / "tape", COUNT, 3, 8)
        tape = Tape.open(folder / "tape")
        for prefix in (PREFIX, APART):
            assert produce(tape, deployed(at["PLAINTEXT"], prefix), Playing(), Drain()).finished
        assert produce(tape, deployed(at["PLAINTEXT"], OPEN), Playing(end=False), Drain()).finished
        audit = Producer({"bootstrap.servers": at["PLAINTEXT"], "log_level": 0})
        audit.produce(PREFIX + AUDIT, b'{"version":1,"event":"tried"}', NAME)
        assert audit.flush(20) == 0
        yield Guarded(at["PLAINTEXT"], at["SAFE"], tape)


@pytest.fixture
def called(guarded: Guarded, cli: Callable[..., Ended], tmp_path: Path) -> Callable[..., Ended]:
    """Runs a command as a user who has just these rights."""

    def call(command: str, rights: tuple[Right, ...], run: Callable[..., Any] = cli) -> Any:
        user = next(USERS)
        prefix = {"run trading": APART, "topics apply": f"{user}."}.get(command, PREFIX)
        if command == "produce" and {Right("READ", "topic", name) for name in (AUDIT, INSTRUMENTS, TICKS)} <= set(rights):
            prefix = f"{user}."  # where everything is to be written, and nothing is there to be read
            apply(deployed(guarded.plain, prefix))
        guarded.granted(user, rights, prefix)
        words = command.split()
        more: list[str] = []
        if words[0] == "run":
            more = ["--out", str(tmp_path / user), *["--until-end"] * (words[1] == "record")]
        elif words[0] == "produce":
            more = [str(guarded.tape.path)]
        elif command == "control":
            words, more = ["control", "pause"], ["--reason", "tried", "--wait-s", "0.2"]
        elif command == "control log":
            more = ["--out", str(tmp_path / f"{user}.log")]
        elif words[0] == "control":
            more = ["0", "--reason", "tried", "--wait-s", "0.2"]
        return run(*words, *more, *guarded.options(user, prefix))

    return call


def one_less() -> list[tuple[str, Right]]:
    """Every command with each of its rights; of one operation that it needs on all topics, one on a topic that it does nothing else with:
    to read or write includes to describe. What a command does when the book has answered is tried apart."""
    out = []
    for command, rights in RIGHTS.items():
        on_all = {o for o in {r.operation for r in rights} if {r.name for r in rights if r.operation == o} >= set(TOPICS)}
        one = next(t for t in TOPICS if not any(r.name == t and r.operation in ("READ", "WRITE") for r in rights))
        tried = [r for r in rights if r.operation not in on_all or r.name == one]
        out += [(command, r) for r in tried if command != EXCLUDE or r.name not in (TICKS, ".")]
    return out


def beside(*arguments: str) -> subprocess.Popen[bytes]:
    """A command in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "flows", *arguments], stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("command", ["run signals", "run venue", *sorted(RIGHTS.keys() - {"run signals", "run book", "run venue"})])
def test_with_its_rights_a_command_does_its_work(command: str, called: Callable[..., Any]) -> None:
    """In the order of a deployment: book and venue work on what signals has said. Nobody runs who could answer a control message."""
    if command == "run venue":
        book = called("run book", RIGHTS["run book"], beside)
    ended = called(command, RIGHTS[command])
    if command == "run venue":
        assert book.wait(60) == 0
    if command in ("control", EXCLUDE):
        ended.told(1, "was sent, but nobody answered")
    else:
        assert ended.code == 0, ended.err


@pytest.mark.parametrize(("command", "less"), one_less(), ids=lambda x: f"{x.operation} {x.name}" if isinstance(x, Right) else x)
def test_with_one_right_less_it_names_that_one(command: str, less: Right, called: Callable[..., Ended]) -> None:
    ended = called(command, tuple(r for r in RIGHTS[command] if r != less))
    told = " ".join(ended.err.split())
    assert ended.code == 1, told
    named = rf"the right ({less.operation}|{INCLUDED.get(less.operation)}) on the "
    assert re.search(named + (rf"topic (\S+ or )*\S+\.{less.name} " if less.kind == "topic" else rf".*{less.kind}s"), told), told


def test_leaving_a_partition_out_needs_to_read_and_write_ticks(guarded: Guarded) -> None:
    """What `control exclude-partition` does when the book has accepted it."""
    rights = RIGHTS[EXCLUDE]
    for less in (*(r for r in rights if r.name in (TICKS, ".")), None):
        user = next(USERS)
        guarded.granted(user, tuple(r for r in rights if r != less), OPEN)
        settings = deployed(guarded.safe, OPEN, *guarded.options(user, OPEN)[1::2])
        if less is None:
            assert close_partition(settings, guarded.tape.instruments, 0).next > 0
            continue
        what = "deployment's consumer groups" if less.kind == "group" else f"topic {OPEN}{TICKS}"
        with pytest.raises(BrokerError, match=f"the right {less.operation} on the {what}"):
            close_partition(settings, guarded.tape.instruments, 0)


def test_every_topic_is_in_the_list_and_the_table_says_it_all() -> None:
    assert {PREFIX + t for t in TOPICS} == {t.name for t in declared(load_settings(None, [f"kafka.topic_prefix={PREFIX}"], env={}))}
    assert [row[0].strip("`") for row in rights_table()] == list(RIGHTS)

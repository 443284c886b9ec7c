"""TLS, SCRAM and OAuth as docs/kafka.md names them, on a broker that wants them: the right settings read the ticks, wrong ones are told.

One broker for all: a listener with TLS, and one with SASL over TLS. keytool, which comes with Java, makes its certificate. It accepts
OAuth tokens that nobody has signed (Kafka's module for development); where a client gets its token from is as in earnest.
"""

from __future__ import annotations

import base64
import itertools
import json
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from pydantic import SecretStr

from flows.control import send
from flows.produce import Playing, produce
from flows.servers_seen import kafka_seen
from infra.local import KafkaServer
from infra.local.kafka_build import KAFKA
from infra.local.ports import free_port
from infra.topics import apply
from operators.sinks.kafka.reading import verify_topics
from operators.sources.kafka import published
from operators.sources.tape import Tape
from operators.timeline.control import Drain
from schemas.errors import BrokerError, UsageError
from schemas.messages import ControlMessage
from schemas.settings import Settings, load_settings
from schemas.settings.sections import ControlSettings
from tests.servers import home

RIGHT, WRONG = "open-sesame", "hush-hush"
_NUMBER = itertools.count()


@dataclass(frozen=True)
class Secured:
    """Addresses of the listener with TLS and of the one with SASL, the broker's certificate, another one, where tokens are to be had."""

    tls: str
    sasl: str
    certificate: Path
    other: Path
    tokens: str

    def settings(self, server: str, *given: str, **more: str) -> Settings:
        """Settings of a deployment of its own, `given` for librdkafka."""
        own = {"bootstrap_servers": server, "topic_prefix": f"secured{next(_NUMBER)}.", **more}
        return load_settings(None, [*(f"kafka.{k}={v}" for k, v in own.items()), *(f"kafka.librdkafka.{x}" for x in given)], env={})


class _Tokens(BaseHTTPRequestHandler):
    """A token for who knows the secret (OAuth's grant `client_credentials`), unsigned."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if base64.b64decode(self.headers["Authorization"].split()[1]).decode() == f"reader:{RIGHT}":
            now_s = int(time.time())
            claims = {"sub": "reader", "iat": now_s, "exp": now_s + 600}
            self._answer(200, {"access_token": f"{_part({'alg': 'none'})}.{_part(claims)}.", "token_type": "Bearer", "expires_in": 600})
        else:
            self._answer(401, {"error": "invalid_client", "error_description": "the secret is not the client's"})

    def _answer(self, status: int, tree: dict[str, Any]) -> None:
        content = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on the error output of the tests."""


def _part(tree: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(tree).encode()).decode().rstrip("=")


def certified(folder: Path, name: str) -> tuple[Path, Path]:
    """A key with a self-signed certificate of 127.0.0.1: the broker's store, and the certificate as PEM for clients."""
    store, certificate = folder / f"{name}.p12", folder / f"{name}.pem"
    of = ("-keystore", str(store), "-storepass", RIGHT, "-alias", name)
    made = ("-storetype", "PKCS12", "-keyalg", "EC", "-dname", f"CN={name}", "-ext", "san=ip:127.0.0.1", "-ext", "bc:c")
    subprocess.run(["keytool", "-genkeypair", *of, *made], check=True, capture_output=True)
    subprocess.run(["keytool", "-exportcert", "-rfc", *of, "-file", str(certificate)], check=True, capture_output=True)
    return store, certificate


@pytest.fixture(scope="module")
def tokens() -> Iterator[str]:
    """The address at which tokens are asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Tokens)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/token"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, tokens: str) -> Iterator[Secured]:
    jars, folder = home(KAFKA), tmp_path_factory.mktemp("secured")
    (store, certificate), (_, other) = certified(folder, "broker"), certified(folder, "other")
    at = {name: f"127.0.0.1:{free_port()}" for name in ("PLAINTEXT", "TLS", "SAFE", "CONTROLLER")}
    listeners = [f"{name}://{address}" for name, address in at.items()]
    scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    token = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required"
    properties = {
        "listeners": ",".join(listeners),
        "advertised.listeners": ",".join(listeners[:-1]),
        "controller.quorum.voters": f"1@{at['CONTROLLER']}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,TLS:SSL,SAFE:SASL_SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PKCS12",
        "ssl.keystore.location": str(store),
        "ssl.keystore.password": RIGHT,
        "sasl.enabled.mechanisms": "SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.safe.scram-sha-256.sasl.jaas.config": scram,
        "listener.name.safe.scram-sha-512.sasl.jaas.config": scram,
        "listener.name.safe.oauthbearer.sasl.jaas.config": f'{token} unsecuredLoginStringClaim_sub="broker";',
    }
    with KafkaServer(folder / "kafka", int(at["PLAINTEXT"].split(":")[1]), home=jars, properties=properties):
        admin = AdminClient({"bootstrap.servers": at["PLAINTEXT"], "log_level": 0})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            user = UserScramCredentialUpsertion("reader", ScramCredentialInfo(mechanism, 4096), RIGHT.encode())
            for future in admin.alter_user_scram_credentials([user]).values():
                future.result(20)
        yield Secured(at["TLS"], at["SAFE"], certificate, other, tokens)


def tls(s: Secured, certificate: Path) -> tuple[str, ...]:
    return s.tls, "security.protocol=SSL", f"ssl.ca.location={certificate}"


def sasl(s: Secured, mechanism: str, *given: str) -> tuple[str, ...]:
    return s.sasl, "security.protocol=SASL_SSL", f"ssl.ca.location={s.certificate}", f"sasl.mechanism={mechanism}", *given


def scram(s: Secured, bits: int, password: str) -> tuple[str, ...]:
    return sasl(s, f"SCRAM-SHA-{bits}", "sasl.username=reader", f"sasl.password={password}")


def oidc(s: Secured, secret: str) -> tuple[str, ...]:
    names = {"method": "oidc", "client.id": "reader", "client.secret": secret, "token.endpoint.url": s.tokens}
    return sasl(s, "OAUTHBEARER", *(f"sasl.oauthbearer.{k}={v}" for k, v in names.items()))


def unsigned(s: Secured, config: str) -> tuple[str, ...]:
    return sasl(s, "OAUTHBEARER", "enable.sasl.oauthbearer.unsecure.jwt=true", f"sasl.oauthbearer.config={config}")


Given = Callable[[Secured], tuple[str, ...]]


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda s: tls(s, s.certificate), id="TLS"),
        pytest.param(lambda s: scram(s, 256, RIGHT), id="SCRAM-SHA-256"),
        pytest.param(lambda s: scram(s, 512, RIGHT), id="SCRAM-SHA-512"),
        pytest.param(lambda s: oidc(s, RIGHT), id="OAUTHBEARER by OIDC"),
        pytest.param(lambda s: unsigned(s, "principal=reader"), id="OAUTHBEARER unsigned"),
    ],
)
def test_the_right_settings_produce_and_read_the_same_ticks(
    given: Given, secured: Secured, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    settings = secured.settings(*given(secured))
    assert produce(tape, settings, Playing(), Drain()).finished
    assert published(settings) == tape.instruments
    assert reading(settings, tape).run().result() == by_cursor(settings, tape).result()


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        pytest.param(lambda s: tls(s, s.other), "certificate verify failed", id="another certificate"),
        pytest.param(lambda s: scram(s, 512, WRONG), "invalid credentials with SASL mechanism SCRAM-SHA-512", id="another password"),
        pytest.param(lambda s: sasl(s, "PLAIN", "sasl.username=reader", f"sasl.password={WRONG}"), "SCRAM-SHA-512", id="another mechanism"),
        pytest.param(lambda s: oidc(s, WRONG), "the secret is not the client's", id="another secret"),
        pytest.param(lambda s: unsigned(s, "principal=reader principalClaimName=who"), "invalid_token", id="a token that is refused"),
    ],
)
def test_wrong_settings_end_with_their_cause_and_show_no_secret(
    given: Given, cause: str, secured: Secured, tape: Tape, reading: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is asked first: topics, instruments, ticks, control, rows, `doctor`."""
    caplog.set_level(logging.DEBUG)
    settings = secured.settings(*given(secured), answer_timeout_s="2", outage_s="0")
    driven = reading(settings, tape)
    keyed = settings.model_copy(update={"control": ControlSettings(key=SecretStr("a key for tests only"))})
    pause = ControlMessage(id="x", kind="pause", reason="a test")
    questions = [
        lambda: apply(settings),
        lambda: published(settings),
        driven.run,
        lambda: send(keyed, pause),
        lambda: send(keyed, pause, 5.0),
        lambda: verify_topics(settings, tape.instruments),
    ]
    with ThreadPoolExecutor(8) as at_once:
        asked = [at_once.submit(ask) for ask in questions]
        doctor = at_once.submit(lambda: kafka_seen(settings))
    assert cause in doctor.result().found
    for answer in asked:
        with pytest.raises(BrokerError, match=cause) as caught:
            answer.result()
        assert settings.kafka.bootstrap_servers in str(caught.value)
        assert WRONG not in str(caught.value)
    assert cause in driven.live.components["kafka"].why
    assert WRONG not in driven.live.components["kafka"].why + repr(settings) + caplog.text


def test_a_certificate_that_is_not_there_is_told_with_the_setting(secured: Secured, tape: Tape, reading: Any) -> None:
    settings = secured.settings(*tls(secured, secured.other.with_name("none.pem")))
    with pytest.raises(BrokerError, match=r"ssl\.ca\.location"):
        reading(settings, tape).run()


def test_oauth_without_anywhere_to_get_a_token_is_refused_at_once() -> None:
    """librdkafka would wait for the token, without a word, until the outage is too long."""
    for name in ("sasl.mechanism", "sasl.mechanisms"):
        with pytest.raises(UsageError, match=r"nowhere to get a token from: set one of .*sasl\.oauthbearer\.method"):
            load_settings(None, [f"kafka.librdkafka.{name}=OAUTHBEARER"], env={})

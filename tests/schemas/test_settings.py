"""Settings of connections: secrets stay secret, and where a run happens is no part of what it is."""

from __future__ import annotations

import json
import pickle
import traceback
from pathlib import Path

import pytest

from schemas.errors import UsageError
from schemas.settings import Settings, load_settings, settings_hash

SECRET = "correct-horse-battery"


def test_where_a_run_happens_is_no_part_of_its_identity() -> None:
    here = load_settings(overrides=["kafka.bootstrap_servers=broker-a:9092", "kafka.transaction_ms=0"], env={})
    assert settings_hash(here) == settings_hash(Settings())
    assert settings_hash(load_settings(overrides=["partitions=5"], env={})) != settings_hash(Settings())


def test_librdkafka_settings_can_be_given_by_file_variable_and_option(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(
        '[kafka.librdkafka]\n"security.protocol" = "SASL_SSL"\nssl.ca.location = "ca.pem"\n"enable.ssl.certificate.verification" = true\n'
    )
    s = load_settings(file, ["kafka.librdkafka.socket.timeout.ms=5000"], {"SPIKETAPE_KAFKA__LIBRDKAFKA__SASL__PASSWORD": SECRET})
    assert s.kafka.client() == {
        "bootstrap.servers": "localhost:9092",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": "ca.pem",
        "enable.ssl.certificate.verification": "true",
        "socket.timeout.ms": "5000",
        "sasl.password": SECRET,
    }


def test_a_secret_is_in_no_text_that_is_made_of_settings() -> None:
    s = load_settings(overrides=[f"kafka.librdkafka.sasl.password={SECRET}"], env={})
    assert pickle.loads(pickle.dumps(s)).kafka.client()["sasl.password"] == SECRET
    for text in (repr(s), str(s), repr(s.kafka), json.dumps(s.model_dump(mode="json")), s.model_dump_json(), str(s.model_dump())):
        assert SECRET not in text


@pytest.mark.parametrize(
    "override",
    [f"kafka.librdkafka={SECRET}", f"kafka={SECRET}", f"kafka.sasl_password={SECRET}", f"kafka.transaction_ms={SECRET}"],
)
def test_a_secret_in_the_wrong_place_is_not_told_by_the_error(override: str) -> None:
    with pytest.raises(UsageError, match="kafka") as caught:
        load_settings(overrides=[override], env={})
    assert SECRET not in "".join(traceback.format_exception(caught.value))


OVERWRITTEN = (
    "auto.offset.reset bootstrap.servers client.id enable.idempotence enable.partition.eof isolation.level message.timeout.ms "
    "metadata.broker.list transactional.id"
)


@pytest.mark.parametrize("name", OVERWRITTEN.split())
def test_what_would_be_overwritten_cannot_be_passed_through(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} cannot be passed through"):
        load_settings(overrides=[f"kafka.librdkafka.{name}=x"], env={})


def test_no_client_overwrites_what_may_be_passed_through() -> None:
    """What a client gives itself is what the settings refuse; what it merely prefers gives way."""
    s = load_settings(overrides=["kafka.librdkafka.linger.ms=7"], env={}).kafka
    with pytest.raises(LookupError, match=r"linger\.ms may be passed through"):
        s.client({"linger.ms": 1})
    assert s.client({"client.id": "me"}, {"linger.ms": 1, "log_level": 0}) == {
        "bootstrap.servers": "localhost:9092",
        "client.id": "me",
        "linger.ms": "7",
        "log_level": 0,
    }


def test_topics_have_the_prefix() -> None:
    assert load_settings(overrides=["kafka.topic_prefix=test-"], env={}).kafka.topic("ticks") == "test-ticks"

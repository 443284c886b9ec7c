"""Which servers of the settings answer, for `doctor`."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from operators.timeline.broker import Reports, said
from schemas.settings import Settings

ANSWERS_WITHIN_S = 3.0


@dataclass(frozen=True)
class Seen:
    """`answers`: whether it can be used as the settings say. `found`: what was seen, without secrets."""

    answers: bool
    found: str


def kafka_seen(settings: Settings) -> Seen:
    """Whether the broker gives the cluster's metadata to a client with these settings."""
    where, reports = settings.kafka.bootstrap_servers, Reports()
    try:
        client = AdminClient(settings.kafka.client({"error_cb": reports}, {"log_level": 0}))
    except KafkaException as e:
        return Seen(False, f"the client refuses kafka.librdkafka: {said(e)}")
    try:
        metadata = client.list_topics(timeout=ANSWERS_WITHIN_S)
    except KafkaException as e:
        return Seen(False, f"nobody answers at {where}: {said(reports.reason(client, e))}")
    ours = sum(1 for name in metadata.topics if name.startswith(settings.kafka.topic_prefix) and not name.startswith("__"))
    return Seen(True, f"{len(metadata.brokers)} brokers at {where}, {ours} topics")


def influx_seen(settings: Settings) -> Seen:
    """Whether InfluxDB is healthy and takes the token for the organisation."""
    influx = settings.influx
    question = f"{influx.url.rstrip('/')}/api/v2/buckets?{urllib.parse.urlencode({'org': influx.org, 'limit': 100})}"
    try:
        with urllib.request.urlopen(f"{influx.url.rstrip('/')}/health", timeout=ANSWERS_WITHIN_S) as answer:
            version = json.load(answer).get("version", "unknown")
        headers = {"Authorization": f"Token {influx.token.get_secret_value()}"}
        with urllib.request.urlopen(urllib.request.Request(question, headers=headers), timeout=ANSWERS_WITHIN_S) as answer:
            buckets = [b["name"] for b in json.load(answer)["buckets"]]
    except urllib.error.HTTPError as e:
        return Seen(False, f"{influx.url} answers {e.code} for organisation {influx.org}: the token or the organisation is wrong")
    except (OSError, ValueError) as e:
        return Seen(False, f"nobody answers at {influx.url}: {e}")
    has = "there" if influx.bucket in buckets else "not there yet"
    return Seen(True, f"InfluxDB {version} at {influx.url}, bucket {influx.bucket} is {has}")

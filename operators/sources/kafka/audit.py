"""What the topic `audit` holds of a deployment, and which partitions of `ticks` its account has left out."""

from __future__ import annotations

from dataclasses import dataclass

from operators.sources.kafka.client import own_messages
from schemas.control import Accepted, ControlRefusedError, judged_in, partition_of
from schemas.settings import Settings
from schemas.topics import AUDIT


@dataclass(frozen=True, slots=True)
class Exclusion:
    """An accepted message that leaves a partition out. `at_ms`: when the broker took what the audit says of it, ms UTC."""

    accepted: Accepted
    at_ms: int


def audit_lines(settings: Settings) -> list[bytes]:
    """Every line of the deployment that is committed to the topic, in its order. KafkaException where the broker does not answer."""
    return [m.value() or b"" for m in own_messages(settings, AUDIT)]


def exclusions(settings: Settings) -> dict[int, Exclusion]:
    """By partition the first accepted message that leaves it out. KafkaException where the broker does not answer."""
    found: dict[int, Exclusion] = {}
    for m in own_messages(settings, AUDIT):
        try:
            judged = judged_in(m.value() or b"")
            if isinstance(judged, Accepted) and judged.message.kind == "exclude_partition":
                found.setdefault(partition_of(judged.message, settings), Exclusion(judged, int(m.timestamp()[1])))
        except (ValueError, ControlRefusedError):
            continue
    return found

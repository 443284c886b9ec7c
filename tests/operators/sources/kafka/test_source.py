"""The Kafka source on a real broker: what a tape cursor tells, in any form, resumed anywhere, holes refused, outages waited out."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, run_main
from confluent_kafka import OFFSET_END, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions

from flows.produce import Playing, produce
from flows.terminal import iso_time
from infra.local.ports import free_port
from infra.topics import apply
from operators.sources.kafka import merged, publish, published, split
from operators.sources.kafka.operator import poison_apart
from operators.sources.kafka.start import NOTE
from operators.sources.tape import Tape
from operators.timeline.control import Credit, Drain
from operators.timeline.registry import opened
from operators.timeline.seal import sealed, unsealed
from schemas.errors import BrokerError, LakeError, RefusedError, StateMismatchError, TopicError, UsageError
from schemas.settings import Settings
from schemas.tick_stream import CONTENT_END, CONTENT_HEARTBEAT, CONTENT_TYPE, encode_end, encode_heartbeat
from schemas.ticks import END, FLAG_TIME_REFUSED, TICK_V1, Mark, TickBatch
from schemas.wire import CONTENT_JSON, CONTENT_PACKED, encode, encode_json

Deployed = Callable[..., Settings]


def played(settings: Settings, tape: Tape, **how: Any) -> Settings:
    assert produce(tape, settings, Playing(**how), Drain()).finished
    return settings


def sent(settings: Settings, partition: int, *messages: tuple[str | None, bytes | None]) -> None:
    """Puts messages into the topic of ticks: (content type, value)."""
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "enable.idempotence": True, "log_level": 0})
    for kind, value in messages:
        headers = [] if kind is None else [(CONTENT_TYPE, kind)]
        producer.produce(settings.kafka.topic("ticks"), value, partition=partition, headers=headers)
    assert producer.flush(20) == 0


def told_to(settings: Settings, order: Callable[[AdminClient], dict[Any, Any]]) -> None:
    """Has the broker do something, and waits for it."""
    client = AdminClient({"bootstrap.servers": settings.kafka.bootstrap_servers, "log_level": 0})
    for future in order(client).values():
        future.result(20)


@pytest.mark.parametrize(
    ("form", "batch_ticks", "read_ticks"),
    [("packed", 512, 65_536), ("packed", 1, 700), ("packed", 4000, 50), ("arrow", 333, 65_536), ("json", 64, 5000)],
)
def test_the_source_tells_what_the_tape_cursor_tells(
    form: str, batch_ticks: int, read_ticks: int, deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    settings = played(deployed(), tape, form=form, batch_ticks=batch_ticks)
    driven = reading(settings, tape, batch_ticks=read_ticks)
    assert driven.run().result() == by_cursor(settings, tape).result()
    assert driven.rows == tape.manifest.rows
    assert driven.source.finished
    assert driven.live.ticks == tape.manifest.rows
    assert driven.live.duplicates == driven.live.sequence_holes == 0
    assert driven.live.components["kafka"].status == "ok"
    assert not driven.told.poison


def test_a_tape_of_another_layout_is_dealt_anew(deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any) -> None:
    """Three partitions of ten shards from a tape of four of 64: each shard is told its ticks in order all the same."""
    settings = played(deployed("shards=10", "partitions=3"), tape)
    got = reading(settings, tape).run()
    for shard, pieces in got.pieces.items():
        ticks = [t for p, _ in pieces for t in p.tolist()]
        assert ticks == sorted(ticks, key=lambda t: (t[0], t[7], t[2])), shard
    assert sum(len(t) for pieces in got.pieces.values() for t, _ in pieces) == tape.manifest.rows
    ends = {tuple(m[-2:]) for m in got.marks.values()}
    cursor = by_cursor(settings.model_copy(update={"shards": 64, "partitions": 4}), tape)
    assert ends == {tuple(m[-2:]) for m in cursor.marks.values()}


def test_resumed_from_any_snapshot_nothing_is_missing_or_doubled(deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any) -> None:
    settings = played(deployed(), tape, batch_ticks=100)
    wanted = by_cursor(settings, tape).result()
    chance = random.Random(5)
    driven = reading(settings, tape, batch_ticks=900)
    attempts = 1
    while True:
        quota = chance.randrange(1, 4000)
        while (goes_on := driven.step()) and driven.rows < quota:
            pass
        if not goes_on:
            break
        snapshot = driven.part.snapshot()
        driven.part.close()
        driven = reading(settings, tape, snapshot, driven.told, batch_ticks=chance.choice((50, 300, 900)))
        attempts += 1
    assert driven.told.result() == wanted
    assert attempts >= 3


def test_partitions_of_one_process_are_taken_over_by_two_and_given_back(
    deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    settings = played(deployed(), tape, batch_ticks=100)
    one = reading(settings, tape, batch_ticks=400)
    one.until(lambda: one.rows > 4000)
    halves = [sealed(s) for s in split(unsealed("ticks", one.part.snapshot()), [[0, 3], [1, 2]])]
    one.part.close()
    two = [reading(settings, tape, h, one.told, p, batch_ticks=400) for h, p in zip(halves, ([0, 3], [1, 2]), strict=True)]
    for _ in range(3):
        two[0].step()
    two[1].until(lambda: two[1].rows > 2000)
    back = sealed(merged([unsealed("ticks", d.part.snapshot()) for d in two]))
    for d in two:
        d.part.close()
    with pytest.raises(StateMismatchError, match="rescale"):
        reading(settings, tape, back, one.told, [0, 1])
    assert reading(settings, tape, back, one.told).run().result() == by_cursor(settings, tape).result()


def test_fuzzed_messages_change_nothing_of_the_good_ones_and_each_is_one_poison(
    deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    """A stream of good batches with 3000 bad messages between them, read with restarts.

    What a restart says again is told by its offset, as the sink does: below what was seen of the partition.
    """
    settings = deployed()
    apply(settings)
    publish(settings, tape.instruments)
    chance = random.Random(11)
    good = tape.read(0, 0, 512)
    whole = encode(good, 0)
    stray = good[:3].copy()
    stray["symbol"] = 10_000

    def bad() -> tuple[str | None, bytes | None]:
        raw = bytearray(whole[: chance.choice((5, 32, 33, 500, len(whole)))])
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        return chance.choice(
            (
                (CONTENT_PACKED, bytes(raw)),
                (CONTENT_PACKED, chance.randbytes(chance.randrange(200))),
                (CONTENT_JSON, b'{"version":1,"ticks":[{"ts_ns":1}]}'),
                ("application/vnd.apache.arrow.stream", chance.randbytes(90)),
                (CONTENT_HEARTBEAT, b'{"version":1,"ts_ns":"soon"}'),
                ("application/vnd.spiketape.end", b'{"version":1,"sequence":999999}'),
                ("text/plain", whole),
                (None, whole),
                (CONTENT_PACKED, None),
                (CONTENT_PACKED, encode(stray, 0)),
                (CONTENT_JSON, encode_json(stray)),
                (CONTENT_PACKED, encode(good, 2**40)),
            )
        )

    count = 0
    for p in range(settings.partitions):
        messages: list[tuple[str | None, bytes | None]] = []
        rows = tape.rows(p)
        for at in range(0, rows, 50):
            messages.append((CONTENT_PACKED, encode(tape.read(p, at, 50), at)))
            junk = [bad() for _ in range(chance.randrange(16))]
            if chance.random() < 0.5:
                junk.append((CONTENT_HEARTBEAT, encode_heartbeat(chance.randrange(2**61, 2**62))))
            count += len(junk)
            messages += junk
        beat = (CONTENT_HEARTBEAT, encode_heartbeat(tape.manifest.last_ts_ns or 0))
        sent(settings, p, *messages, beat, ("application/vnd.spiketape.end", json.dumps({"version": 1, "sequence": rows}).encode()))
    assert count >= 3000
    driven = reading(settings, tape, batch_ticks=2000)
    while driven.step():
        if chance.random() < 0.05:
            snapshot = driven.part.snapshot()
            driven.part.close()
            driven = reading(settings, tape, snapshot, driven.told, batch_ticks=2000)
    assert driven.told.result() == by_cursor(settings, tape).result()
    once: dict[str, int] = {}
    for poison in driven.told.poison:
        if poison.offset >= once.get(poison.place, 0):
            once[poison.place] = poison.offset + 1
            count -= 1
    assert count == 0
    assert {p.reason for p in driven.told.poison} >= {
        "crc",
        "truncated",
        "json",
        "heartbeat",
        "time",
        "end",
        "content_type",
        "symbol",
        "sequence",
    }


def test_a_repeated_batch_is_dropped_and_a_hole_is_counted(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = deployed()
    apply(settings)
    a = tape.read(1, 0, 300)
    batches = [encode(a[:100], 0), encode(a[:100], 0), encode(a[50:150], 50), encode(a[200:], 200)]
    sent(settings, 1, *((CONTENT_PACKED, b) for b in batches))
    sent(settings, 1, *[(CONTENT_HEARTBEAT, encode_heartbeat(int(a["ts_ns"][-1])))] * 3)
    driven = reading(settings, tape, partitions=[1])
    driven.until(lambda: driven.rows == 250)
    assert driven.live.duplicates == 150
    assert driven.live.sequence_holes == 50


def test_messages_without_a_sequence_between_packed_ones_drop_none_of_these(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = deployed()
    apply(settings)
    a = tape.read(1, 0, 300)
    sent(settings, 1, (CONTENT_PACKED, encode(a[:100], 0)), (CONTENT_JSON, encode_json(a[100:110])), (CONTENT_PACKED, encode(a[110:], 100)))
    sent(settings, 1, *[(CONTENT_HEARTBEAT, encode_heartbeat(int(a["ts_ns"][-1])))] * 3)
    driven = reading(settings, tape, partitions=[1])
    driven.until(lambda: driven.rows == 300)
    assert driven.live.duplicates == driven.live.sequence_holes == 0


def test_an_absurd_time_is_flagged_and_moves_no_slice(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = deployed()
    apply(settings)
    a = tape.read(1, 0, 200).copy()
    a["ts_ns"][90] = 2**61
    sent(settings, 1, (CONTENT_PACKED, encode(a[:91], 0)), (CONTENT_PACKED, encode(a[91:], 91)))
    sent(settings, 1, *[(CONTENT_HEARTBEAT, encode_heartbeat(int(a["ts_ns"][-1]) + 10**9))] * 3)
    driven = reading(settings, tape, partitions=[1])
    driven.until(lambda: driven.rows == 200)
    flags = {int(t["seq"]): int(t["flags"]) for pieces in driven.told.pieces.values() for ticks, _ in pieces for t in ticks}
    (refused,) = [seq for seq, f in flags.items() if f & FLAG_TIME_REFUSED]
    assert refused == int(a["seq"][90])
    largest = max(int(k.max()) for pieces in driven.told.pieces.values() for _, k in pieces if k.size)
    assert largest <= int(a["ts_ns"][-1]) // settings.slice_ns


def test_deleted_messages_are_refused_at_the_start_and_a_missing_end_too(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = played(deployed(), tape, batch_ticks=50)
    driven = reading(settings, tape, batch_ticks=500)
    driven.until(lambda: driven.rows > 1000)
    snapshot = driven.part.snapshot()
    state = unsealed("ticks", snapshot)
    topic = settings.kafka.topic("ticks")
    told_to(settings, lambda a: a.delete_records([TopicPartition(topic, 2, state["partitions"]["2"]["offset"] + 3)]))
    late = reading(settings, tape, snapshot)
    with pytest.raises(TopicError, match=r"partition 2: .*3 messages were deleted.*--fresh") as e:
        late.run()
    assert e.value.reason == "gap"
    assert e.value.exit_code == 3
    state["partitions"]["1"]["offset"] += 10**6
    state["partitions"]["2"]["offset"] += 3
    with pytest.raises(TopicError, match="truncated") as e:
        reading(settings, tape, sealed(state)).run()
    assert e.value.reason == "truncated"


def test_messages_that_are_deleted_while_the_flow_lags_are_refused(deployed: Deployed, tape: Tape, reading: Any) -> None:
    """However much the client has fetched ahead: what it has not asked for yet is far more than it may hold."""
    little = ("kafka.librdkafka.queued.max.messages.kbytes=1", "kafka.librdkafka.fetch.message.max.bytes=1000")
    settings = played(deployed(*little), tape, batch_ticks=1)
    driven = reading(settings, tape)
    driven.until(lambda: driven.part._log.connected)
    topic = settings.kafka.topic("ticks")
    told_to(settings, lambda a: a.delete_records([TopicPartition(topic, p, OFFSET_END) for p in range(4)]))
    with pytest.raises(TopicError, match="were deleted before this flow had read them"):
        driven.run()


def test_a_changed_number_of_partitions_is_refused_at_the_start_and_while_reading(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = played(deployed("kafka.retry_most_ms=200"), tape, end=False)
    driven = reading(settings, tape)
    driven.until(lambda: driven.rows == tape.manifest.rows)
    told_to(settings, lambda a: a.create_partitions([NewPartitions(settings.kafka.topic("ticks"), 6)]))
    with pytest.raises(TopicError, match="has 6 partitions, expected 4"):
        driven.run()
    with pytest.raises(TopicError, match="has 6 partitions, expected 4"):
        reading(settings, tape).run()


def test_a_missing_topic_is_refused_with_what_to_do(deployed: Deployed, tape: Tape, reading: Any) -> None:
    with pytest.raises(TopicError, match="spiketape topics apply"):
        reading(deployed(), tape).run()


def test_a_topic_that_is_deleted_while_reading_is_told(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = played(deployed("kafka.retry_most_ms=200"), tape, end=False)
    driven = reading(settings, tape)
    driven.until(lambda: driven.rows == tape.manifest.rows)
    told_to(settings, lambda a: a.delete_topics([settings.kafka.topic("ticks")]))
    with pytest.raises(TopicError) as e:
        driven.run()
    assert e.value.reason in ("missing", "truncated")


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(
    own_kafka: Any, deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    server = own_kafka()
    settings = played(deployed("kafka.retry_most_ms=200", bootstrap=server.bootstrap), tape, batch_ticks=20)
    driven = reading(settings, tape, batch_ticks=40)
    driven.until(lambda: driven.rows > 500)
    server.kill()
    driven.until(lambda: driven.live.components["kafka"].status == "failing")
    assert server.bootstrap.split(":")[1] in driven.live.components["kafka"].why or "broker" in driven.live.components["kafka"].why
    again = reading(settings, tape, driven.part.snapshot(), driven.told)
    again.until(lambda: again.live.components["kafka"].status == "failing")
    driven.part.close()
    server.start()
    assert again.run().result() == by_cursor(settings, tape).result()
    assert again.live.components["kafka"].status == "ok"


def test_a_broker_that_stays_away_ends_the_flow_with_its_address(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = deployed("kafka.outage_s=1", "kafka.retry_most_ms=200", bootstrap="127.0.0.1:9")
    with pytest.raises(BrokerError, match=r"broker 127\.0\.0\.1:9: reading .*: no success for"):
        reading(settings, tape).run()


def test_a_setting_that_librdkafka_refuses_is_named_without_its_value(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = deployed("kafka.librdkafka.security.protocol=hush-hush")
    with pytest.raises(BrokerError, match=r"security\.protocol") as e:
        reading(settings, tape).run()
    assert "librdkafka" in str(e.value)


def test_settings_of_librdkafka_pass_through_and_a_wrong_password_is_told_but_not_shown(
    own_kafka: Any, deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    """A broker with a listener that wants SASL PLAIN."""
    plain, controller, safe = free_port(), free_port(), free_port()
    own_kafka(
        port=plain,
        properties={
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SAFE://127.0.0.1:{safe}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},SAFE://127.0.0.1:{safe}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SAFE:SASL_PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.safe.plain.sasl.jaas.config": (
                'org.apache.kafka.common.security.plain.PlainLoginModule required user_reader="open-sesame";'
            ),
        },
    )
    who = ("security.protocol=SASL_PLAINTEXT", "sasl.mechanism=PLAIN", "sasl.username=reader")
    given = [f"kafka.librdkafka.{x}" for x in who]
    address = f"127.0.0.1:{safe}"
    settings = played(deployed(*given, "kafka.librdkafka.sasl.password=open-sesame", bootstrap=address), tape)
    assert reading(settings, tape).run().result() == by_cursor(settings, tape).result()
    wrong = deployed(*given, "kafka.librdkafka.sasl.password=hush-hush", "kafka.outage_s=2", "kafka.retry_most_ms=200", bootstrap=address)
    driven = reading(wrong, tape)
    with pytest.raises(BrokerError, match="(?i)authentication") as e:
        driven.run()
    assert "hush" not in str(e.value) + driven.live.components["kafka"].why + repr(wrong)


def test_a_drain_ends_the_source_and_its_snapshot_goes_on(deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any) -> None:
    settings = played(deployed(), tape, batch_ticks=100)
    driven = reading(settings, tape, batch_ticks=500)
    driven.until(lambda: driven.rows > 3000)
    driven.source.drain.ask()
    assert not driven.step()
    assert not driven.source.finished
    driven.part.close()
    assert reading(settings, tape, driven.part.snapshot(), driven.told).run().result() == by_cursor(settings, tape).result()


def test_without_credit_nothing_is_sent_until_downstream_is_through(deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any) -> None:
    settings = played(deployed(), tape, batch_ticks=50)
    credit = Credit(max_open_slices=1, open_batches=1)
    driven = reading(settings, tape, batch_ticks=50, credit=credit)
    driven.until(lambda: driven.told.batches > 0)
    for _ in range(200):
        driven.step()
    held = driven.rows
    assert held < 4 * 2 * 100
    while driven.step():
        credit.done(min(max([-(2**62), *m]) for m in driven.told.marks.values()))
    assert driven.told.result() == by_cursor(settings, tape).result()


def test_poison_and_refused_times_before_the_first_tick_take_up_no_credit(deployed: Deployed, tape: Tape, reading: Any) -> None:
    settings = deployed()
    apply(settings)
    a = tape.read(1, 0, 100).copy()
    a["ts_ns"][:20] = -1
    sent(settings, 1, *[("text/plain", b"no")] * 20, *((CONTENT_PACKED, encode(a[i : i + 1], i)) for i in range(20)))
    sent(settings, 1, (CONTENT_PACKED, encode(a[20:], 20)))
    driven = reading(settings, tape, partitions=[1], batch_ticks=1, credit=Credit(max_open_slices=1, open_batches=1))
    driven.until(lambda: driven.rows == 100)
    assert len(driven.told.poison) == 20


def test_what_comes_behind_the_end_of_a_partition_becomes_poison_and_nobody_waits_for_it(
    deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any
) -> None:
    settings = played(deployed(), tape, batch_ticks=50, end=False)
    sent(settings, 3, (CONTENT_END, encode_end(tape.rows(3))))
    late = [encode(tape.read(3, i, 1), tape.rows(3) + i) for i in range(3000)]
    sent(settings, 3, *((CONTENT_PACKED, content) for content in late[:100]))
    driven = reading(settings, tape)
    driven.until(lambda: len(driven.told.poison) == 100 and driven.live.waiting_for == {"0", "1", "2"})
    assert driven.live.lag_messages["3"] == 0
    snapshot = driven.part.snapshot()
    driven.part.close()
    driven = reading(settings, tape, snapshot, driven.told, batch_ticks=50)
    for p in range(3):
        sent(settings, p, (CONTENT_END, encode_end(tape.rows(p))))
    sent(settings, 3, *((CONTENT_PACKED, content) for content in late[100:]))
    told = driven.run()
    assert driven.source.finished
    assert told.result() == by_cursor(settings, tape).result()
    assert {(p.partition, p.reason) for p in told.poison} == {(3, "ended")}
    assert [p.content for p in told.poison] == late  # all that was there when the last partition ended
    assert driven.live.dead_letters == {"ended": len(late) - 100}


@pytest.mark.parametrize(("start", "skipped"), [("resume", 0), ("earliest", 0), ("0:3,1:3,2:3,3:3", 3), ("5", 5), ("time", None)])
def test_where_a_new_run_begins(start: str, skipped: int | None, deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any) -> None:
    """`skipped`: messages of a hundred ticks in each partition; a time skips those that end before it."""
    settings = played(deployed(), tape, batch_ticks=100)
    first = dict.fromkeys(range(4), 100 * (skipped or 0))
    if start == "time":
        middle_ns = (tape.manifest.first_ts_ns + tape.manifest.last_ts_ns) // 2000 * 1000  # type: ignore[operator]
        ends = {p: [min(i + 100, tape.rows(p)) for i in range(0, tape.rows(p), 100)] for p in range(4)}
        first = {p: 100 * sum(tape.read(p, end - 1, 1)["ts_ns"][0] < middle_ns for end in ends[p]) for p in range(4)}
        assert 0 < sum(first.values()) < tape.manifest.rows
        start = iso_time(middle_ns)
    driven = reading(settings, tape, start=start)
    assert_the_last(driven.run(), by_cursor(settings, tape), {p: tape.rows(p) - first[p] for p in range(4)})


def assert_the_last(told: Any, whole: Any, rows: dict[int, int]) -> None:
    """Just the last `rows` ticks of each partition were told, each shard's to the end."""
    wanted = whole.result()
    got = dict.fromkeys(rows, 0)
    for shard, (ticks, _, marks) in told.result().items():
        assert wanted[shard][0].endswith(ticks)
        assert marks[-1] == END
        got[shard % 4] += len(ticks) // TICK_V1.itemsize
    assert got == rows


def half_played(settings: Settings, tape: Tape) -> dict[int, int]:
    """Plays half of each partition of a tape; how many ticks of each are not in the log yet."""
    apply(settings)
    publish(settings, tape.instruments)
    half = {p: tape.rows(p) // 2 for p in range(4)}
    for p, n in half.items():
        sent(settings, p, *((CONTENT_PACKED, encode(tape.read(p, i, min(100, n - i)), i)) for i in range(0, n, 100)))
    return {p: tape.rows(p) - n for p, n in half.items()}


@pytest.mark.parametrize("killed", [False, True])
def test_latest_begins_with_what_is_produced_after_the_first_start(
    killed: bool, deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any, tmp_path: Path
) -> None:
    """Also for a process that is killed before its first recovery point, and away while the ticks come."""
    settings = deployed()
    left = half_played(settings, tape)
    driven = reading(settings, tape, start="latest", run=tmp_path)
    driven.until((tmp_path / NOTE).exists)
    assert driven.rows == 0
    if killed:
        driven.part.close()
    played(settings, tape)
    if killed:
        driven = reading(settings, tape, start="latest", run=tmp_path)
    assert_the_last(driven.run(), by_cursor(settings, tape), left)


def test_a_note_of_the_begin_that_does_not_fit_is_refused(deployed: Deployed, tape: Tape, reading: Any, tmp_path: Path) -> None:
    settings = deployed()
    half_played(settings, tape)
    (tmp_path / NOTE).write_text('{"topic": "another", "offsets": {"0": 5}}')
    with pytest.raises(LakeError, match="began in partitions .0. of another, now .*--fresh"):
        reading(settings, tape, start="latest", run=tmp_path).run()
    (tmp_path / NOTE).write_text("{")
    with pytest.raises(LakeError, match="does not say where this run began"):
        reading(settings, tape, start="latest", run=tmp_path).run()


def test_a_run_with_a_snapshot_goes_on_from_there_whatever_the_start(deployed: Deployed, tape: Tape, reading: Any, by_cursor: Any) -> None:
    settings = played(deployed(), tape, batch_ticks=100)
    driven = reading(settings, tape, batch_ticks=900)
    driven.until(lambda: driven.rows > 3000)
    snapshot = driven.part.snapshot()
    driven.part.close()
    assert reading(settings, tape, snapshot, driven.told, start="latest").run().result() == by_cursor(settings, tape).result()


def test_a_wrong_start_is_told() -> None:
    from operators.sources.kafka import Start

    with pytest.raises(UsageError, match="yesterday.*expected earliest"):
        Start.parsed("yesterday")
    assert Start.parsed("2013-10-07T14:00:00Z").ts_ns == 1381154400 * 10**9
    assert Start.parsed("2013-10-07T14:00:00.000001").ts_ns == 1381154400 * 10**9 + 1000


def test_instruments_are_published_once_and_another_list_is_refused(deployed: Deployed, tape: Tape) -> None:
    settings = deployed()
    apply(settings)
    with pytest.raises(TopicError, match="spiketape produce"):
        published(settings)
    assert publish(settings, tape.instruments)
    assert not publish(settings, tape.instruments)
    assert published(settings) == tape.instruments
    fewer = tape.instruments.model_copy(update={"instruments": tape.instruments.instruments[1:]})
    with pytest.raises(RefusedError, match="instruments differ"):
        publish(settings, fewer)
    with pytest.raises(TopicError, match="set slice_ms to 100"):
        published(settings.model_copy(update={"slice_ms": 50}))


def test_a_flow_with_recovery_goes_on_where_it_was_drained(deployed: Deployed, tape: Tape, reading: Any, tmp_path: Path) -> None:
    """The source in Bytewax itself: drained twice, run to the end the third time; every tick once."""
    settings = played(deployed(), tape, batch_ticks=50)
    got: list[Any] = []
    for quota in (3000, 9000, None):
        source = reading(settings, tape, batch_ticks=200).source

        def seen(item: Any, source: Any = source, quota: int | None = quota) -> Any:
            if quota is not None and source.ticks_this_attempt > quota:
                source.drain.ask()
            return item

        flow = Dataflow("ticks")
        read = poison_apart("sound", op.input("kafka", flow, source))
        op.output("out", op.map("seen", read.trues, seen), TestingSink(got))
        recovery, _ = opened(tmp_path / "recovery", {"ticks.kafka": 1})
        run_main(flow, recovery_config=recovery, epoch_interval=timedelta(seconds=0))
        assert source.finished is (quota is None)
    ticks = [v.ticks for _, v in got if isinstance(v, TickBatch)]
    assert sum(map(len, ticks)) == tape.manifest.rows
    assert len({(t["symbol"], t["seq"]) for a in ticks for t in a}) == tape.manifest.rows
    assert {v.k for _, v in got if isinstance(v, Mark)} >= {END}

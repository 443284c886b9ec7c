"""The sink on a real broker: what is written, what is left out, who may write."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer

from operators.sinks.kafka import Transactions, identity_of
from operators.sinks.kafka.operator import ACCOUNT_TABLES, DRAINED, KafkaPart, KafkaSink
from operators.timeline.live import Live
from schemas.control import Accepted, Refusal, Refused
from schemas.errors import BrokerError, FencedError, LakeError, RefusedError, StateMismatchError, UsageError
from schemas.instruments import InstrumentList
from schemas.messages import ControlMessage, message_of
from schemas.order_wire import BookTurn, VenueTurn, decode_book_turn, decode_venue_turn
from schemas.poison import Poison
from schemas.settings import Settings
from schemas.slice_wire import decode_slice_out
from schemas.tables import Rows
from schemas.topics import TOPIC_OF_TABLE, row_partition

Open = Callable[..., KafkaPart]


def test_rows_become_the_messages_of_their_models(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any, instruments: InstrumentList
) -> None:
    settings = deployment()
    part = open_part(settings)
    pieces = [made_rows.rows(table, key, 0, 7, symbol=1) for table in TOPIC_OF_TABLE for key in ("BTC/USDT", "second")]
    part.write_batch([pieces[0], tuple(pieces[1:5]), pieces[5:]])
    part.snapshot()
    for rows in pieces:
        found = [s for s in topics.read(TOPIC_OF_TABLE[rows.table]) if s.key == rows.key]
        expected = [message_of(rows.table, rows.key, settings.deployment, row, instruments) for row in rows.a]
        assert [s.value.decode() for s in found] == [m.model_dump_json() for m in expected]
        assert [s.id for s in found] == [m.id for m in expected]
        assert {(s.partition, s.content_type) for s in found} == {(row_partition(rows.table, rows.key, settings), "application/json")}


def test_tables_without_a_topic_and_those_of_another_sink_are_passed_over(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any
) -> None:
    part = open_part(deployment(), tables=ACCOUNT_TABLES)
    part.write_batch([made_rows.rows(t, "AAPL", 5, 3) for t in ("signals", "dead_letters", "statistics", "skill")])
    part.write_batch([made_rows.rows("orders", "main", 0, 3)])
    part.snapshot()
    assert topics.read("signals") == topics.read("dead-letters") == []
    assert len(topics.read("orders")) == 3


def test_what_is_written_again_from_an_older_snapshot_is_there_once(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any
) -> None:
    settings = deployment()
    first = open_part(settings)
    first.write_batch([made_rows.rows("orders", "main", 0, 10)])
    older = first.snapshot()
    first.write_batch([made_rows.rows("orders", "main", 10, 10), made_rows.rows("orders", "second", 0, 4)])
    first.snapshot()
    again = open_part(settings, resume=older)
    again.write_batch([made_rows.rows("orders", "main", 10, 5)])
    again.write_batch([made_rows.rows("orders", "main", 15, 9), made_rows.rows("orders", "second", 0, 6)])
    again.snapshot()
    ids = [f"spiketape/orders/main/{n}" for n in range(24)] + [f"spiketape/orders/second/{n}" for n in range(6)]
    assert sorted(topics.ids("orders")) == sorted(ids)


def test_rows_that_would_leave_a_hole_are_refused(deployment: Callable[..., Settings], open_part: Open, made_rows: Any) -> None:
    part = open_part(deployment())
    part.write_batch([made_rows.rows("orders", "main", 0, 3)])
    with pytest.raises(LakeError, match="rows 3 to 4 are missing"):
        part.write_batch([made_rows.rows("orders", "main", 5, 1)])


def test_slices_that_straddle_what_is_there_are_cut(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any
) -> None:
    settings = deployment()
    part = open_part(settings, "signals", "0003", partitions=[3])
    part.write_batch([made_rows.slices(7, 0, 10, 2), made_rows.slices(3, -5, 8)])
    part.snapshot()
    again = open_part(settings, "signals", "0003", partitions=[3])
    again.write_batch([made_rows.slices(7, 4, 15, 2), made_rows.slices(3, -5, 8), made_rows.slices(7, 15, 16)])
    again.snapshot()
    said = [(s.key, decode_slice_out(s.value)) for s in topics.read("slices")]
    assert [(k, o.lo, o.hi, o.quotes["slice"].tolist()) for k, o in said if k == "s07"] == [
        ("s07", 0, 10, [k for k in range(10) for _ in "ab"]),
        ("s07", 10, 15, [k for k in range(10, 15) for _ in "ab"]),
        ("s07", 15, 16, []),
    ]
    assert [(o.lo, o.hi) for k, o in said if k == "s03"] == [(-5, 8)]
    with pytest.raises(StateMismatchError, match="before slice 16, the next range begins at 18"):
        again.write_batch([made_rows.slices(7, 18, 19)])


def test_the_rows_of_a_slice_out_come_with_it(deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any) -> None:
    part = open_part(deployment(), "signals", "0000", partitions=[0])
    out = made_rows.slices(4, 0, 9)
    rows = (
        made_rows.rows("signals", "AAPL", 0, 3),
        made_rows.rows("dead_letters", "AAPL", 0, 2),
        made_rows.rows("statistics", "s04", 0, 2),
    )
    part.write_batch([type(out)(4, 0, 9, out.signals, out.quotes, rows, None)])
    part.snapshot()
    assert len(topics.read("signals")) == 3
    assert len(topics.read("dead-letters")) == 2
    (said,) = topics.read("slices")
    assert [(r.table, r.a.size) for r in decode_slice_out(said.value).rows] == [("signals", 3), ("dead_letters", 2), ("statistics", 2)]


def test_a_range_too_large_for_a_message_is_cut_in_halves(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any
) -> None:
    settings = deployment("kafka.max_message_bytes=8000")
    part = open_part(settings, "signals", "0003", partitions=[3])
    part.write_batch([made_rows.slices(7, 0, 10, 40)])
    part.snapshot()
    said = [decode_slice_out(s.value) for s in topics.read("slices")]
    assert len(said) > 2
    assert [o.lo for o in said] == [0, *(o.hi for o in said[:-1])]
    assert sum(o.quotes.size for o in said) == 400
    with pytest.raises(BrokerError, match=r"s07, slice 10: a message of .* kafka.max_message_bytes is 8,000"):
        part.write_batch([made_rows.slices(7, 10, 11, 400)])


def test_turns_of_book_and_venue_are_written_once(deployment: Callable[..., Settings], open_part: Open, topics: Any) -> None:
    settings = deployment()
    book, venue = open_part(settings, "rows"), open_part(settings, "venue")
    book.write_batch([BookTurn(0, 5), BookTurn(5, 9)])
    venue.write_batch([VenueTurn(0, 3)])
    book.snapshot()
    venue.snapshot()
    book, venue = open_part(settings, "rows"), open_part(settings, "venue")
    book.write_batch([BookTurn(5, 12)])
    venue.write_batch([VenueTurn(0, 2), VenueTurn(2, 7)])
    book.snapshot()
    venue.snapshot()
    assert [(t.lo, t.hi) for t in (decode_book_turn(s.value) for s in topics.read("requests"))] == [(0, 5), (5, 9), (9, 12)]
    assert [(t.lo, t.hi) for t in (decode_venue_turn(s.value) for s in topics.read("reports"))] == [(0, 3), (3, 7)]


def test_poison_is_written_once_whole_and_cut_where_it_is_too_large(
    deployment: Callable[..., Settings], open_part: Open, topics: Any
) -> None:
    settings = deployment("kafka.max_message_bytes=8000")
    bad = [Poison("ticks", 1, offset, "crc", "does not fit", bytes(range(100))) for offset in (4, 9)]
    part = open_part(settings, "signals", "0001", partitions=[1])
    part.write_batch([*bad, Poison("ticks", 1, 11, "crc", "does not fit", bytes(7900))])
    part.snapshot()
    live, told = Live(), []
    live.tell = lambda _level, event, **fields: told.append((event, fields))
    again = open_part(settings, "signals", "0001", partitions=[1], live=live)
    again.write_batch([*bad, Poison("ticks", 1, 12, "magic", "no", b"")])
    again.snapshot()
    what = {"topic": "ticks", "partition": 1, "reason": "magic", "count": 1, "offset": 12, "detail": "no"}
    assert [fields for event, fields in told if event == "poison"] == [what]
    found = [Poison.parsed(s.value) for s in topics.read("dead-letters")]
    assert found[:2] == bad
    assert [p.id for p in found] == ["ticks/1/4", "ticks/1/9", "ticks/1/11", "ticks/1/12"]
    assert 3000 < len(found[2].content) < 7900
    assert "of 7900 bytes" in found[2].detail


def test_an_accepted_control_message_is_audited_once(deployment: Callable[..., Settings], open_part: Open, topics: Any) -> None:
    def accepted(k: int, name: str) -> Accepted:
        return Accepted(k, ControlMessage(id=name, kind="pause", reason="r", effective_slice=k))

    settings = deployment()
    part = open_part(settings)
    part.write_batch([accepted(5, "a"), accepted(5, "b"), accepted(8, "c"), Refused("x", Refusal.SIGNATURE, "no")])
    part.snapshot()
    live, told = Live(), []
    live.run, live.tell = "r7", lambda _level, event, **fields: told.append((event, fields))
    again = open_part(settings, live=live)
    again.write_batch([accepted(5, "b"), accepted(8, "c"), accepted(8, "d"), Refused("y", Refusal.SIGNATURE, "no")])
    again.snapshot()
    again.close()
    again.finish(DRAINED)
    lines = [json.loads(s.value) for s in topics.read("audit")]
    own = [line["event"] for line in lines if line.get("run") == "r7"]
    assert own == ["started", "control_accepted", "control_refused", "drained"]
    instances = {line["instance"] for line in lines if line.get("run") == "r7" and "instance" in line}
    assert len(instances) == 1
    assert told[:2] == [
        ("control accepted", {"id": "d", "kind": "pause", "slice": 8}),
        ("control refused", {"id": "y", "reason": "signature", "why": "no"}),
    ]
    assert [line["message"]["id"] for line in lines if line["event"] == "control_accepted"] == ["a", "b", "c", "d"]
    assert [line["commit"] for line in lines if line["event"] == "started"] == [0, 2]


def test_a_zombie_is_fenced_and_writes_nothing_more(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any
) -> None:
    settings = deployment("kafka.transaction_ms=60000")
    zombie = open_part(settings)
    zombie.write_batch([made_rows.rows("orders", "main", 0, 5)])
    zombie.snapshot()
    zombie.write_batch([made_rows.rows("orders", "main", 5, 5)])
    newer = open_part(settings)
    newer.write_batch([made_rows.rows("orders", "main", 5, 2)])
    newer.snapshot()
    with pytest.raises(FencedError, match=r"spiketape\.rows\.main: a newer process"):
        zombie.snapshot()
    assert FencedError.exit_code == 4
    with pytest.raises(FencedError):
        zombie.write_batch([made_rows.rows("orders", "main", 10, 5)])
    newer.write_batch([made_rows.rows("orders", "main", 7, 1)])
    newer.snapshot()
    assert topics.ids("orders") == [f"spiketape/orders/main/{n}" for n in range(8)]


def test_a_zombie_gives_way_to_a_newer_instance_that_has_not_written_yet(
    deployment: Callable[..., Settings], instruments: InstrumentList, open_part: Open, topics: Any, made_rows: Any
) -> None:
    """It learns of it between two of its messages, not by a commit."""
    settings = deployment("kafka.transaction_ms=60000")
    zombie = open_part(settings)
    zombie.write_batch([made_rows.rows("orders", "main", 0, 1)])
    newer = Transactions(settings, "spiketape.rows.main", identity_of(settings, instruments), frozenset(), Live())
    token = newer.start()

    def write_on() -> None:
        for n in range(1, 600):
            zombie.write_batch([made_rows.rows("orders", "main", n, 1)])
            time.sleep(0.05)

    with pytest.raises(FencedError):
        write_on()
    newer.put([], token)
    newer.flush()
    newer.end()
    assert topics.read("orders") == []


def test_parts_of_other_partitions_do_not_fence_each_other(deployment: Callable[..., Settings], open_part: Open, made_rows: Any) -> None:
    settings = deployment()
    parts = [open_part(settings, "signals", f"{p:04d}", partitions=[p]) for p in range(3)]
    for p, part in enumerate(parts):
        part.write_batch([made_rows.slices(p, 0, 4)])
        part.snapshot()


def test_what_a_dead_process_left_open_under_the_id_of_one_part_does_not_hold_back_the_tokens_of_its_others(
    deployment: Callable[..., Settings], instruments: InstrumentList
) -> None:
    """It died between a token and its commit. The broker itself would give the transaction up after a quarter of an hour."""
    settings = deployment("kafka.transaction_timeout_s=900", "kafka.answer_timeout_s=10", "kafka.outage_s=1")
    dead = Producer({**settings.kafka.client(), "transactional.id": "spiketape.signals.2", "transaction.timeout.ms": 900_000})
    dead.init_transactions(60)
    dead.begin_transaction()
    dead.produce(settings.kafka.topic("tokens"), b"{}", key="spiketape.signals.2")
    assert dead.flush(60) == 0
    sink = KafkaSink(settings, instruments, "signals", [0, 1, 2])
    for part in [sink.build_part("sink", p, None) for p in sink.list_parts()]:
        part.end()


def test_an_open_transaction_is_never_seen(deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any) -> None:
    part = open_part(deployment("kafka.transaction_ms=60000"))
    part.write_batch([made_rows.rows("orders", "main", 0, 50)])
    raw = []
    while len(raw) < 50:
        raw = topics.read("orders", "read_uncommitted")
    assert topics.read("orders") == []
    part.snapshot()
    assert len(topics.read("orders")) == 50


def test_an_open_transaction_is_committed_when_its_time_has_passed(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any
) -> None:
    part = open_part(deployment("kafka.transaction_ms=20"))
    part.write_batch([made_rows.rows("orders", "main", 0, 5)])
    while len(topics.read("orders")) < 5:
        time.sleep(0.05)


@pytest.mark.parametrize(("sink", "turn", "topic"), [("rows", BookTurn, "requests"), ("venue", VenueTurn, "reports")])
def test_a_turn_for_which_another_process_waits_is_committed_at_once_with_what_came_before_it(
    deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any, sink: str, turn: Any, topic: str
) -> None:
    part = open_part(deployment("kafka.transaction_ms=60000"), sink, turns_at_once=True)
    before = [] if sink == "venue" else [made_rows.rows("orders", "main", 0, 5)]
    part.write_batch([*before, Poison("ticks", 1, 11, "crc", "does not fit", b"x")])
    while not topics.read("dead-letters", "read_uncommitted"):
        time.sleep(0.05)
    assert topics.read("dead-letters") == []
    part.write_batch([turn(0, 5)])
    while not topics.read(topic):
        time.sleep(0.05)
    assert len(topics.read("dead-letters")) == 1
    assert len(topics.read("orders")) == 5 * len(before)


def test_a_damaged_token_is_refused(deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any) -> None:
    settings = deployment()
    part = open_part(settings)
    part.write_batch([made_rows.rows("orders", "main", 0, 5)])
    part.snapshot()
    good = topics.read("tokens")[-1]
    token = json.loads(good.value)
    token["rows"]["orders/main"] = 4
    for damaged, told in (
        (json.dumps(token).encode(), "the token is damaged"),
        (good.value[:-9], "the token is damaged"),
        (b"[1]", "the token is damaged"),
        (good.value.replace(b'"version":1', b'"version":2'), "version 2, this code reads 1"),
    ):
        producer = Producer(settings.kafka.client())
        producer.produce(settings.kafka.topic("tokens"), damaged, key=good.key)
        assert producer.flush(30) == 0
        with pytest.raises(StateMismatchError, match=told):
            open_part(settings)


def test_a_recovery_store_that_knows_more_than_kafka_is_refused(
    deployment: Callable[..., Settings], open_part: Open, made_rows: Any
) -> None:
    settings = deployment()
    part = open_part(settings)
    part.write_batch([made_rows.rows("orders", "main", 0, 5)])
    state = part.snapshot()
    with pytest.raises(StateMismatchError, match="knows of orders/main up to 5, Kafka holds it up to nothing"):
        open_part(deployment("deployment=other"), resume=state)


def test_topics_of_another_set_up_are_refused(deployment: Callable[..., Settings], open_part: Open) -> None:
    open_part(deployment())
    with pytest.raises(RefusedError, match="other symbols, slice length, shards or partitions"):
        open_part(deployment("slice_ms=50"))


def test_missing_topics_are_refused(deployment: Callable[..., Settings], open_part: Open) -> None:
    settings = deployment()
    kafka = settings.kafka.model_copy(update={"topic_prefix": f"{settings.kafka.topic_prefix}other-"})
    with pytest.raises(RefusedError, match=r"topic .*-other-audit is not there; run spiketape topics apply"):
        open_part(settings.model_copy(update={"kafka": kafka}))
    with pytest.raises(RefusedError, match=r"dead-letters has 4 partitions, the settings say 5"):
        open_part(settings.model_copy(update={"partitions": 5}))


@pytest.mark.parametrize(("key", "index"), [("s02", 0), ("s07", 1), ("s63", 1), ("p2", 0), ("p10", 2), ("ticks/10", 2)])
def test_items_go_to_the_part_of_their_partition(instruments: InstrumentList, key: str, index: int) -> None:
    sink = KafkaSink(Settings(partitions=15, shards=64), instruments, "signals", partitions=[10, 2, 7 if key == "s07" else 3])
    if key == "s07":
        assert sink.list_parts() == ["0002", "0007", "0010"]
    assert sink.part_fn(key) == index


def test_a_key_of_a_partition_that_is_not_owned_is_an_error(instruments: InstrumentList) -> None:
    sink = KafkaSink(Settings(), instruments, "signals", partitions=[0, 1])
    for key in ("s02", "p3", "main"):
        with pytest.raises(UsageError, match=f"key '{key}'"):
            sink.part_fn(key)


def test_a_message_that_the_broker_finds_too_large_is_named(deployment: Callable[..., Settings], open_part: Open, made_rows: Any) -> None:
    settings = deployment("kafka.max_message_bytes=2000")
    larger = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"max_message_bytes": 1_000_000})})
    part = open_part(larger)
    part.write_batch([Poison("ticks", 1, 11, "crc", "does not fit", random.Random(1).randbytes(7900))])
    with pytest.raises(BrokerError, match=r"ticks/1/11: a message of .* bytes"):
        part.snapshot()


def test_rows_of_one_write_can_be_many(deployment: Callable[..., Settings], open_part: Open, topics: Any, made_rows: Any) -> None:
    part = open_part(deployment("kafka.transaction_rows=10"))
    rows = made_rows.rows("orders", "main", 0, 300)
    part.write_batch([Rows("orders", "main", rows.a[i : i + 25]) for i in range(0, 300, 25)])
    part.snapshot()
    assert topics.ids("orders") == [f"spiketape/orders/main/{n}" for n in range(300)]

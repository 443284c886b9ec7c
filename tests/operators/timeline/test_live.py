"""What a process puts down about itself."""

from __future__ import annotations

from operators.timeline.live import FAILING, OK, SECONDS, STARTING, Histogram, Live


def test_a_duration_falls_into_the_first_bucket_that_is_no_shorter():
    h = Histogram((0.1, 1.0))
    for seconds in (0.1, 0.1000001, 1.0, 7.5):
        h.observe(seconds)
    assert h.counts == [1, 2, 1]
    assert h.count == 4
    assert h.sum == 0.1 + 0.1000001 + 1.0 + 7.5


def test_bounds_ascend():
    assert list(SECONDS) == sorted(set(SECONDS))


def test_a_component_starts_unreached_and_keeps_the_time_of_its_last_change():
    now = [10.0]
    live = Live(clock=lambda: now[0])
    broker = live.component("kafka")
    assert (broker.status, broker.since_s) == (STARTING, 10.0)
    now[0] = 11.0
    broker.ok()
    now[0] = 12.0
    broker.ok()
    assert (broker.status, broker.since_s, broker.why) == (OK, 11.0, "")
    broker.failing("no broker answers")
    now[0] = 15.0
    broker.failing("still none")
    assert (broker.status, broker.since_s, broker.why) == (FAILING, 12.0, "still none")
    assert live.component("kafka") is broker


def test_that_a_component_fails_and_recovers_is_told_once_however_often_it_is_tried_and_by_whom():
    now, told = [10.0], []
    live = Live(clock=lambda: now[0])
    live.tell = lambda level, event, **fields: told.append((level, event, fields))
    broker, writers = live.component("kafka"), ("part 0", "part 1")
    broker.ok("part 0")
    assert told == []
    for _ in range(100):
        for who in writers:
            broker.failing(f"{who} has no answer", who)
    assert told == [("warning", "failing", {"component": "kafka", "why": "part 0 has no answer"})]
    now[0] = 71.5
    broker.ok("part 1")
    assert (broker.status, broker.why, len(told)) == (FAILING, "part 0 has no answer", 1)
    broker.ok("part 1")
    broker.failing("part 1 has no answer once more", "part 1")
    broker.ok("part 0")
    broker.ok("part 1")
    broker.ok("part 0")
    assert told[1:] == [("info", "recovered", {"component": "kafka", "after_s": 61.5})]
    assert (broker.status, broker.since_s) == (OK, 71.5)


def test_a_partition_waits_until_something_arrives():
    live = Live()
    live.lag(3, 7)
    live.arrived(3, messages=2, ticks=500, size_bytes=32_000, event_ns=40)
    live.arrived(3, messages=1, ticks=10, event_ns=30)
    assert (live.messages, live.ticks, live.bytes, live.event_ns) == (3, 510, 32_000, {"3": 40})
    live.waiting(3)
    assert live.waiting_for == {"3"}
    assert live.lag_messages == {"3": 0}
    live.arrived("3", messages=1)
    assert live.waiting_for == set()


def test_a_partition_is_silent_since_something_arrived_not_since_its_end_was_seen_again():
    now = [5.0]
    live = Live(clock=lambda: now[0])
    live.waiting(0)
    now[0] = 8.0
    live.waiting(0)
    assert live.heard_s == {"0": 5.0}
    live.arrived(0, messages=1)
    live.waiting(0)
    assert live.heard_s == {"0": 8.0}


def test_counters_add_up_by_label():
    live = Live()
    live.dead_letter("CRC", 2)
    live.dead_letter("CRC")
    live.refused("MAX_ORDER")
    live.wrote("equity", 5)
    live.wrote("equity", 6)
    assert (live.dead_letters, live.refusals, live.rows) == ({"CRC": 3}, {"MAX_ORDER": 1}, {"equity": 11})


def test_an_epoch_is_complete_when_the_next_begins_and_one_source_of_several_tells():
    now = [1.0]
    live = Live(clock=lambda: now[0])
    live.epoch_began("ticks")
    assert (live.epochs, live.epoch_began_s) == (0, 1.0)
    now[0] = 2.0
    live.epoch_began("control")
    assert (live.epochs, live.epoch_began_s) == (0, 1.0)
    now[0] = 2.5
    live.epoch_began("ticks")
    assert (live.epochs, live.epoch_began_s) == (1, 2.5)

"""The writer before a real InfluxDB: every value, every kind of refusal, every outage."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from operators.sinks.influx import Lines, Writer
from operators.sinks.influx.courier import COMPONENT
from operators.sinks.influx.dead_letters import read
from operators.sinks.influx.measurements import MEASUREMENTS
from operators.sinks.influx.writer import SPOOL_COMPONENT
from operators.timeline.live import Live
from schemas.errors import DrainedError
from schemas.instruments import InstrumentList
from schemas.tables import Rows

Made = Any
Open = Callable[..., Writer]


def sent(writer: Writer) -> Writer:
    assert writer.finish(60) == 0
    return writer


def assert_there(held: Any, instruments: InstrumentList, made: Made, rows: Rows) -> None:
    """Every row is a point once, with its tags, its time (moved by less than a slice where it is shared) and all its fields."""
    measurement = MEASUREMENTS[rows.table].name
    found = held.rows(measurement)
    tags = [name for name in ("account", "action", "rule", "side", "state", "symbol") if name in (found[0] if found else {})]
    points = held.points(measurement, *tags)
    expected = made.expected(instruments, rows)
    by_n = {fields["n"]: (dict(zip(tags, place[:-1], strict=True)), place[-1], fields) for place, fields in points.items()}
    assert len(points) == len(by_n) == len(expected)
    for n, (row_tags, ts_ns, fields) in expected.items():
        found_tags, time, found_fields = by_n[n]
        assert (found_tags, found_fields) == (row_tags, fields)
        assert ts_ns <= time < ts_ns + 100_000_000


def test_every_value_of_every_row_is_read_back(held: Any, writer_for: Open, instruments: InstrumentList, made: Made) -> None:
    writer = writer_for(held.settings)
    everything = [made.rows(table, "AAPL" if table == "signals" else "main", 0, 200, 4, seed=4) for table in made.tables]
    for rows in everything:
        writer.write(rows)
    sent(writer)
    assert writer.letters.count == 0
    for rows in everything:
        assert_there(held, instruments, made, rows)


def test_every_second_is_read_back_as_it_was_written(held: Any, writer_for: Open, instruments: InstrumentList, made: Made) -> None:
    outs = made.ranges(instruments, held.settings, 300, seed=2)
    writer = writer_for(held.settings)
    lines: list[bytes] = []
    keep = writer._keep
    writer._keep = lambda made_lines: (lines.append(made_lines.content), keep(made_lines))  # type: ignore[method-assign]
    for out in [*outs, *map(made.end, outs)]:
        writer.write(out)
    sent(writer)
    expected: dict[tuple[str, ...], dict[str, float | int]] = {}
    for line in b"".join(lines).decode().splitlines():
        head, fields, time = line.split(" ")
        name, *tags = head.split(",")
        values = dict(f.split("=") for f in fields.split(","))
        place = (name, *sorted(t.split("=")[1] for t in tags), time)
        expected[place] = {k: int(v[:-1]) if v.endswith("i") else float(v) for k, v in values.items()}
    found = {}
    for name, tags in (("quote", ("symbol",)), ("spikes", ("area", "symbol")), ("pipeline", ("flow", "shard"))):
        for place, fields in held.points(name, *tags).items():
            found[(name, *sorted(place[:-1]), str(place[-1]))] = fields
    assert len(expected) > 100
    assert found == expected


def test_writing_everything_again_changes_nothing(
    held: Any, writer_for: Open, instruments: InstrumentList, made: Made, tmp_path: Path
) -> None:
    outs = made.ranges(instruments, held.settings, 50, seed=2)
    rows = [made.rows(table, "main", 0, 60, 4) for table in made.tables if table != "signals"]
    seen = []
    for attempt in range(2):
        writer = writer_for(held.settings, spool=tmp_path / f"spool-{attempt}")
        for value in [*outs, *rows]:
            writer.write(value)
        sent(writer)
        seen.append({m: held.rows(m) for m in ("quote", "spikes", "pipeline", "verdict", "order", "execution", "position", "equity")})
        for found in seen[-1].values():
            for r in found:
                del r["_stop"]
    assert seen[0] == seen[1]
    assert all(seen[0].values())


def test_points_that_the_server_refuses_are_named_and_the_others_are_written(
    held: Any, writer_for: Open, instruments: InstrumentList, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live()
    writer = writer_for(held.settings, live=live)
    rows = made.many(4000)
    writer.write(Rows(rows.table, rows.key, rows.a[:1500]))
    writer.pass_on(1)
    wrong = [b"execution,account=main,side=buy,symbol=AAPL price=5i,n=77777i 1300000000000000001\n", b"this is no line\n"]
    for line in wrong:
        writer.spool.append(Lines(1, line))
    writer.write(Rows(rows.table, rows.key, rows.a[1500:]))
    sent(writer)
    assert_there(held, instruments, made, rows)
    letters = read(writer.letters.path)
    assert [p.content + b"\n" for p in letters] == wrong
    assert 'input field "price" on measurement "execution" is type integer, already exists as type float' in letters[0].detail
    assert "unable to parse 'this is no line'" in letters[1].detail
    assert live.dead_letters == {"INFLUX_REFUSED": 2}
    said = [r.getMessage() for r in caplog.records if r.name.startswith("operators.sinks.influx")]
    assert len(said) == 2
    assert "refused 1 points" in said[0]
    assert wrong[0].decode().strip() in said[0]
    assert live.component(COMPONENT).status == "ok"


def test_a_refusal_of_all_points_takes_one_request_each_batch(held: Any, writer_for: Open, made: Made, tmp_path: Path) -> None:
    writer = writer_for(held.settings)
    writer.spool.append(Lines(1, b"execution,account=x,side=buy,symbol=AAPL price=5i 1300000000000000001\n"))
    sent(writer)
    writer.write(made.many(2000))
    sent(writer)
    assert writer.letters.count == 2000
    assert writer.requests < 10


def test_a_busy_server_is_waited_for_as_it_asks_and_the_order_stays(
    influx: Any, held: Any, gate_before: Any, writer_for: Open, instruments: InstrumentList, made: Made
) -> None:
    gate = gate_before(influx)
    settings = held.settings.model_copy(update={"influx": held.settings.influx.model_copy(update={"url": gate.url})})
    gate.answers = [(429, {"Retry-After": "1"}), (503, {}), (500, {}), (429, {"Retry-After": "soon"}), (502, {})]
    writer = writer_for(settings, live=(live := Live()))
    rows = made.many(12_000)
    for first in range(0, rows.a.size, 900):
        writer.write(Rows(rows.table, rows.key, rows.a[first : first + 900]))
        writer.pass_on(1)
        if first == 4500:
            gate.answers += [(503, {}), (429, {})]
    sent(writer)
    numbers = [int(line.split(b"n=")[-1].split(b"i ")[0]) for body in gate.taken for line in body.splitlines()]
    assert numbers == list(range(12_000))
    assert max(body.count(b"\n") for body in gate.taken) <= 10_000
    assert gate.asked - len(gate.taken) == 7
    assert live.component(COMPONENT).status == "ok"
    assert live.write_s(COMPONENT).count == gate.asked
    assert_there(held, instruments, made, rows)


def test_lines_too_many_for_the_server_are_halved(influx: Any, held: Any, gate_before: Any, writer_for: Open, made: Made) -> None:
    gate = gate_before(influx)
    settings = held.settings.model_copy(update={"influx": held.settings.influx.model_copy(update={"url": gate.url})})
    gate.answers = [(413, {})] * 2
    writer = writer_for(settings)
    writer.write(made.many(1000))
    sent(writer)
    assert [body.count(b"\n") for body in gate.taken] == [250, 250, 500]
    assert writer.letters.count == 0


def test_a_wrong_token_waits_says_so_and_is_not_told(held: Any, writer_for: Open, made: Made, wait_until: Any) -> None:
    live = Live()
    writer = writer_for(held.settings, live=live, token=SecretStr("very-secret-token"))
    writer.write(made.many(10))
    writer.pass_on(1)
    wait_until(lambda: live.component(COMPONENT).status == "failing")
    why = live.component(COMPONENT).why
    assert "refuses the token" in why
    assert "influx.token" in why
    assert "10 lines wait on disk" in why
    assert "very-secret" not in why
    assert writer.letters.count == 0


def test_a_bucket_that_is_missing_is_waited_for(
    held: Any, writer_for: Open, made: Made, wait_until: Any, instruments: InstrumentList
) -> None:
    live = Live()
    with held.client() as client:
        client.buckets_api().delete_bucket(client.buckets_api().find_bucket_by_name(held.bucket))
    writer = writer_for(held.settings, live=live)
    writer.write(made.many(10))
    writer.pass_on(1)
    wait_until(lambda: "influx apply" in live.component(COMPONENT).why)
    held.make()
    sent(writer)
    assert_there(held, instruments, made, made.many(10))


def test_a_long_outage_is_spooled_over_restarts_and_drained_once(
    own_influx: Any, held_by: Any, writer_for: Open, instruments: InstrumentList, made: Made, wait_until: Any
) -> None:
    server = own_influx()
    held = held_by(server)
    rows = made.many(16_000)
    live, told = Live(), []
    live.tell = lambda _level, event, **fields: told.append((event, fields["component"]))
    writer = writer_for(held.settings, live=live)
    writer.write(Rows(rows.table, rows.key, rows.a[:3000]))
    sent(writer)
    assert told == []
    server.kill()
    state: dict[str, Any] = {}
    for first in range(3000, 16_000, 1300):
        writer.write(Rows(rows.table, rows.key, rows.a[first : first + 1300]))
        state = writer.secured()
        writer.stop()
        writer = writer_for(held.settings, live=live, needed=state["needed"])
        writer.restore(state)
    wait_until(lambda: live.component(COMPONENT).status == "failing")
    assert "does not answer" in live.component(COMPONENT).why
    assert writer.spool.lines_waiting == 13_000
    assert live.spool_bytes == writer.spool.size > 1_000_000
    server.start()
    sent(writer)
    assert live.component(COMPONENT).status == "ok"
    assert told == [("failing", COMPONENT), ("recovered", COMPONENT)]
    assert live.spool_bytes < 1 << 20
    assert_there(held, instruments, made, rows)


def test_a_server_that_hangs_is_left_and_tried_again(
    own_influx: Any, held_by: Any, writer_for: Open, instruments: InstrumentList, made: Made, wait_until: Any
) -> None:
    server = own_influx()
    held = held_by(server)
    live = Live()
    writer = writer_for(held.settings, live=live, timeout_s=0.5)
    server.pause()
    writer.write(made.many(500))
    writer.pass_on(1)
    wait_until(lambda: live.component(COMPONENT).status == "failing")
    server.resume()
    sent(writer)
    assert_there(held, instruments, made, made.many(500))


def test_a_full_spool_makes_the_flow_wait_and_it_goes_on(
    own_influx: Any, held_by: Any, writer_for: Open, instruments: InstrumentList, made: Made, wait_until: Any
) -> None:
    server = own_influx()
    held = held_by(server)
    server.stop()
    live = Live()
    writer = writer_for(held.settings, live=live, spool_max_mb=1)
    rows = made.many(20_000)

    def flow() -> None:
        for first in range(0, rows.a.size, 5000):
            writer.write(Rows(rows.table, rows.key, rows.a[first : first + 5000]))
            writer.pass_on()

    thread = threading.Thread(target=flow)
    thread.start()
    wait_until(lambda: live.component(SPOOL_COMPONENT).status == "failing")
    assert "the flow waits" in live.component(SPOOL_COMPONENT).why
    assert thread.is_alive()
    assert live.spool_bytes <= live.spool_limit_bytes == 1 << 20
    assert writer.dropped == 0
    server.start()
    thread.join(60)
    assert not thread.is_alive()
    sent(writer)
    assert live.component(SPOOL_COMPONENT).status == "ok"
    assert_there(held, instruments, made, rows)


def test_a_full_disk_makes_the_flow_wait_and_it_goes_on(
    own_influx: Any,
    held_by: Any,
    writer_for: Open,
    instruments: InstrumentList,
    made: Made,
    wait_until: Any,
    small_disk: Callable[[str], Path],
) -> None:
    server = own_influx()
    held = held_by(server)
    server.stop()
    live = Live()
    writer = writer_for(held.settings, spool=small_disk("1m") / "spool", live=live, spool_spare_mb=0)
    rows = made.many(20_000)
    states: list[dict[str, Any]] = []

    def flow() -> None:
        for first in range(0, rows.a.size, 5000):
            writer.write(Rows(rows.table, rows.key, rows.a[first : first + 5000]))
            states.append(writer.secured())

    thread = threading.Thread(target=flow)
    thread.start()
    wait_until(lambda: live.component(SPOOL_COMPONENT).status == "failing")
    assert "is full" in live.component(SPOOL_COMPONENT).why
    assert thread.is_alive()
    server.start()
    thread.join(60)
    assert len(states) == 4
    sent(writer)
    assert live.component(SPOOL_COMPONENT).status == "ok"
    assert_there(held, instruments, made, rows)
    writer.stop()


def test_dropping_is_a_setting_and_counts_what_is_dropped(own_influx: Any, held_by: Any, writer_for: Open, made: Made) -> None:
    server = own_influx()
    held = held_by(server)
    server.stop()
    live = Live()
    writer = writer_for(held.settings, live=live, spool_max_mb=1, drop_when_full=True)
    writer.write(made.many(20_000))
    writer.pass_on()
    assert writer.dropped == live.dead_letters["SPOOL_FULL"] > 0
    assert "were dropped" in live.component(SPOOL_COMPONENT).why
    assert writer.secured()["dropped"] == writer.dropped
    server.start()
    sent(writer)
    assert len(held.points("execution", "account", "side", "symbol")) == 20_000 - writer.dropped


def test_a_process_that_is_asked_to_end_does_not_wait_for_room(own_influx: Any, held_by: Any, writer_for: Open, made: Made) -> None:
    held = held_by(own_influx())
    settings = held.settings.model_copy(update={"influx": held.settings.influx.model_copy(update={"url": "http://127.0.0.1:9"})})
    writer = writer_for(settings, spool_max_mb=1)
    writer._drain.ask(signal.SIGTERM)
    writer.write(made.many(20_000))
    with pytest.raises(DrainedError, match="asked to end while the flow waits: .*Nothing is lost") as told:
        writer.pass_on()
    assert told.value.exit_code == 128 + signal.SIGTERM
    assert writer.finish(60) > 0


def test_a_damaged_record_is_told_and_all_others_arrive(
    own_influx: Any, held_by: Any, writer_for: Open, made: Made, tmp_path: Path
) -> None:
    server = own_influx()
    held = held_by(server)
    server.stop()
    writer = writer_for(held.settings)
    writer.write(made.many(6000))
    state = writer.secured()
    writer.stop()
    (segment,) = (tmp_path / "spool").glob("*.lines")
    raw = bytearray(segment.read_bytes())
    raw[len(raw) // 2] ^= 64
    segment.write_bytes(raw)
    live = Live()
    writer = writer_for(held.settings, live=live, needed=state["needed"])
    writer.restore(state)
    server.start()
    sent(writer)
    assert live.dead_letters == {"SPOOL_DAMAGED": 1}
    numbers = sorted(p["n"] for p in held.points("execution", "account", "side", "symbol").values())
    lost = sorted(set(range(6000)) - set(numbers))
    assert len(numbers) == 5000
    assert lost == list(range(lost[0], lost[0] + 1000))

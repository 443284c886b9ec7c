"""Seconds: the last quote, sums of statistics; the same however ranges are cut, and after a resume."""

from __future__ import annotations

import pickle
import random
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from operators.sinks.influx.seconds import SecondPoints
from schemas.instruments import InstrumentList
from schemas.settings import Settings
from schemas.ticks import shard_key, shard_of

SECOND_NS = 10**9


def lines_of(points: SecondPoints, pieces: list[Any]) -> list[str]:
    return [line for piece in pieces for lines in points.take(piece) for line in lines.content.decode().splitlines()]


def by_place(lines: list[str]) -> dict[tuple[str, int], dict[str, str]]:
    """Fields as text by (series, time); every point once."""
    out: dict[tuple[str, int], dict[str, str]] = {}
    for line in lines:
        head, fields, time = line.split(" ")
        assert (head, int(time)) not in out
        out[head, int(time)] = dict(f.split("=") for f in fields.split(","))  # type: ignore[misc]
    return out


@pytest.mark.parametrize("slice_ms", [100, 300, 2500])
@pytest.mark.parametrize("shards", [2, 64])
def test_however_ranges_are_cut_the_points_are_the_same(instruments: InstrumentList, made: Any, slice_ms: int, shards: int) -> None:
    settings = Settings(slice_ms=slice_ms, shards=shards)
    outs = made.ranges(instruments, settings, 200, seed=4)
    whole = by_place(lines_of(SecondPoints(instruments, settings, made.neurons), [*outs, *map(made.end, outs)]))
    assert whole
    rng = random.Random(slice_ms + shards)
    for _ in range(4):
        pieces = [p for o in outs for p in made.cut(o, [rng.randrange(o.lo, o.hi) for _ in range(30)])]
        rng.shuffle(pieces)
        pieces.sort(key=lambda p: p.lo + rng.random())
        points = SecondPoints(instruments, settings, made.neurons)
        lines = []
        for piece in [*pieces, *map(made.end, outs)]:
            lines += lines_of(points, [piece])
            if rng.random() < 0.2:
                state = pickle.loads(pickle.dumps(points.snapshot()))
                points = SecondPoints(instruments, settings, made.neurons)
                points.restore(state)
                lines += lines_of(points, [piece])  # what it had before is left out
        assert by_place(lines) == whole


def test_values_are_those_of_a_plain_loop(instruments: InstrumentList, made: Any) -> None:
    settings = Settings(shards=2)
    outs = made.ranges(instruments, settings, 300, seed=9)
    found = by_place(lines_of(SecondPoints(instruments, settings, made.neurons), [*outs, *map(made.end, outs)]))
    expected: dict[tuple[str, int], dict[str, Decimal]] = {}
    for out in outs:
        owned = [s for s in instruments.symbols if shard_of(s, 2) == out.shard]
        last: dict[tuple[int, int], Any] = {}
        for q in out.quotes:
            last[int(q["slice"]) * settings.slice_ns // SECOND_NS, int(q["symbol"])] = q
        for (second, symbol), q in last.items():
            i = instruments.instruments[symbol]
            bid, ask = i.price(int(q["bid"])), i.price(int(q["ask"]))
            b, a = int(q["bid_size"]), int(q["ask_size"])
            imbalance = Decimal(round(np.float64(b - a) / np.float64(b + a) * 1e9)).scaleb(-9) if a + b else Decimal(0)
            values = {"bid": bid, "ask": ask, "mid": (bid + ask) / 2, "spread": ask - bid, "imbalance": imbalance}
            expected[f"quote,symbol={i.symbol}", (second + 1) * SECOND_NS - 1] = values
        rows = out.rows[0].a
        seconds = rows["slice"] * settings.slice_ns // SECOND_NS
        for second in np.unique(seconds).tolist():
            own = rows[seconds == second]
            time = (second + 1) * SECOND_NS - 1
            for area, name in (("input", "input_spikes"), ("hidden", "hidden_spikes")):
                count = int(own[name].sum())
                rate = (Decimal(count) / (made.neurons[area] * len(owned))).quantize(Decimal("1e-6"), "ROUND_HALF_UP")
                expected[f"spikes,area={area},symbol={'+'.join(owned)}", time] = {"rate": rate, "count": Decimal(count)}
            lag_ns = time + 1 - (int(own["slice"][-1]) + 1) * settings.slice_ns
            expected[f"pipeline,flow=spiketape,shard={shard_key(out.shard)}", time] = {
                "ticks": Decimal(int(own["ticks"].sum())),
                "late": Decimal(int(own["late"].sum())),
                "dead": Decimal(int(own["dead"].sum())),
                "lateness": Decimal(int(own["max_late_ns"].max())).scaleb(-9),
                "lag": Decimal(lag_ns).scaleb(-9),
            }
    assert {place: {k: Decimal(v.removesuffix("i")) for k, v in fields.items()} for place, fields in found.items()} == expected


def test_a_second_is_said_when_the_range_has_passed_it_and_not_before(instruments: InstrumentList, made: Any) -> None:
    settings = Settings(shards=2)
    out = made.ranges(instruments, settings, 40, seed=1)[0]
    points = SecondPoints(instruments, settings, made.neurons)
    for k in range(out.lo + 1, out.hi):
        before, rest = out.cut(k)
        assert before is not None
        assert rest is not None
        out = rest
        for _, time in by_place(lines_of(points, [before])):
            assert time < k * settings.slice_ns
            assert time >= (k - 1) * settings.slice_ns - SECOND_NS

"""Features restart at a corporate action of their symbol or its leader: no split is ever a return, wherever ranges are cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from operators.features import FEATURE_NAMES, FeatureStage
from operators.timeline.stage import ShardPlace, shard_places
from schemas.actions import CorporateAction
from schemas.instruments import Instrument, InstrumentList
from schemas.ranges import FEATURES, IN_SESSION, LIT, GatedRange, LeadSeries
from schemas.settings import Settings
from schemas.ticks import QUOTE, TICK_V1

MS = 1_000_000
W = 100 * MS
T0 = 1_000_000 * MS
COLUMN = {name: i for i, name in enumerate(FEATURE_NAMES)}
AT = 40
"""The tick at which prices fall to a quarter."""
PRICED = ("return_fast", "return_slow", "order_flow_fast", "order_flow_slow", "mid_step", "last_direction", "persistence")


def place_of(*actions: CorporateAction) -> ShardPlace:
    common = {"price_exponent": 2, "size_exponent": 0, "tick_size": 2, "lot_size": 1}
    listed = InstrumentList(instruments=(Instrument(symbol="A", **common), Instrument(symbol="B", leader="A", **common)))
    return shard_places(listed.with_actions(actions), Settings(shards=1))[0]


def split(symbol: str, ts_ns: int) -> CorporateAction:
    return CorporateAction(symbol=symbol, ts_ns=ts_ns, kind="split", numerator=4)


def split_ticks(count: int = 80) -> np.ndarray:
    """Quotes of both symbols, each at every 30 ms; from tick AT on a quarter of the price."""
    rng = np.random.default_rng(4)
    t = np.zeros(count, TICK_V1)
    t["symbol"], t["kind"] = np.arange(count) % 2, QUOTE
    t["ts_ns"] = T0 + np.arange(count) // 2 * 30 * MS
    t["seq"] = np.arange(count) // 2
    mid = np.where(np.arange(count) < AT, 40_000, 10_000) + 2 * np.cumsum(rng.choice([-1, 0, 1], count))
    t["price"], t["ask"], t["size"], t["ask_size"] = mid, mid + 2, rng.integers(1, 90, count), rng.integers(1, 90, count)
    return t


ACTED_NS = T0 + AT // 2 * 30 * MS
SPLIT_OF_BOTH = (split("A", ACTED_NS), split("B", ACTED_NS - 3 * MS))


def features_of(place: ShardPlace, ticks: np.ndarray, cuts: tuple[int, ...] = (), gate: np.ndarray | None = None):
    """Features of all ticks and the last state, the ranges cut at slices; A's path are the mids of its quotes."""
    stage = FeatureStage(place)
    state, out = stage.start(), []
    slices = ticks["ts_ns"] // W
    gate = np.full(len(ticks), IN_SESSION | FEATURES | LIT, np.uint8) if gate is None else gate
    for lo, hi in itertools.pairwise((int(slices[0]), *cuts, int(slices[-1]) + 1)):
        part = (slices >= lo) & (slices < hi)
        led = part & (ticks["symbol"] == 0)
        path = LeadSeries(0, lo, hi, ticks["ts_ns"][led], (ticks["price"] + ticks["ask"])[led], slices[led])
        gated = GatedRange(0, lo, hi, ticks[part], slices[part], gate[part], (), int(part.sum()), 0)
        state, found = stage.step(state, (gated, (path,)))
        out.append(found.x)
    return np.concatenate(out), state


def raw_size(x: np.ndarray, state, *names: str) -> float:
    return max(float(state["scale"][:, COLUMN[n]].max()) for n in names)


def test_without_the_action_a_split_is_the_largest_return_ever_and_with_it_none() -> None:
    ticks = split_ticks()
    jumped, unstated = features_of(place_of(), ticks)
    quiet, stated = features_of(place_of(*SPLIT_OF_BOTH), ticks)
    assert np.abs(jumped[AT + 1, [COLUMN["return_fast"], COLUMN["return_slow"]]]).min() == np.abs(jumped[AT + 3, COLUMN["lead_slow"]]) == 3
    assert raw_size(jumped, unstated, "return_slow", "lead_slow", "volatility") > 1000
    assert raw_size(quiet, stated, "return_slow", "lead_slow", "volatility") < 20
    for n in PRICED:
        assert quiet[AT, COLUMN[n]] == quiet[AT + 1, COLUMN[n]] == 0
    assert np.array_equal(quiet[:AT], jumped[:AT])


def test_only_the_leaders_split_is_no_lead_and_only_the_followers_leaves_the_lead() -> None:
    ticks = split_ticks()
    ticks["price"][1::2], ticks["ask"][1::2] = 20_000, 20_002
    quiet, state = features_of(place_of(split("A", ACTED_NS)), ticks)
    assert raw_size(quiet, state, "lead_fast", "lead_slow") < 20
    assert quiet[AT + 3 :: 2, COLUMN["lead_slow"]].any()
    led, _ = features_of(place_of(split("B", ACTED_NS)), split_ticks())
    assert np.abs(led[AT + 3, COLUMN["lead_slow"]]) == 3


@pytest.mark.parametrize("at_ms", [0, -3, -30, 1])
def test_the_same_wherever_ranges_are_cut(at_ms: int) -> None:
    """An action on the slice's first tick, before it, a tick earlier and one millisecond late, which no tick of the leader waits for."""
    ticks = split_ticks()
    actions = (split("A", ACTED_NS + at_ms * MS), split("A", ACTED_NS + (at_ms + 2) * MS), split("B", ACTED_NS + at_ms * MS))
    first, last = int(ticks["ts_ns"][0] // W), int(ticks["ts_ns"][-1] // W)
    whole, state = features_of(place_of(*actions), ticks)
    for cuts in (tuple(range(first + 1, last + 1)), (int(ACTED_NS // W),), (int(ACTED_NS // W) + 1,)):
        again, other = features_of(place_of(*actions), ticks, cuts)
        assert np.array_equal(again, whole)
        assert all(np.array_equal(other[name], state[name]) for name in state)


def test_it_is_the_first_tick_with_features_that_starts_anew_not_the_first_tick() -> None:
    """The first ticks at or after the action may come before the session: they neither use the action up nor compare."""
    ticks = split_ticks()
    gate = np.full(len(ticks), IN_SESSION | FEATURES | LIT, np.uint8)
    gate[AT : AT + 6] = LIT
    quiet, state = features_of(place_of(*SPLIT_OF_BOTH), ticks, tuple(range(int(T0 // W) + 1, int(ticks["ts_ns"][-1] // W) + 1)), gate)
    assert not quiet[AT + 6 : AT + 8, [COLUMN[n] for n in PRICED]].any()
    assert raw_size(quiet, state, "return_slow", "volatility") < 20

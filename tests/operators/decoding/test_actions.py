"""Labels and actions over a corporate action: what is measured on a tape with one inside a session is what two sessions would give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from operators.decoding import DecodingStage
from operators.decoding.skill import SkillMeter
from operators.spiking.training.labels import find_targets
from operators.spiking.training.prepare import Prepared
from schemas.actions import CorporateAction

MS = 1_000_000


@pytest.fixture
def three(market):
    """The same scored ticks with prices a quarter from the middle of the first session on: as they are, with the split stated, and with a
    calendar whose session ends there."""
    m = market(2, count=6000)
    listed = m.place.instruments
    (opens, closes), second = listed.sessions["c"]
    acted = opens + (closes - opens) * 2 // 5 // MS * MS
    ticks = m.ticks.copy()
    after = ticks["ts_ns"] >= acted
    for name in ("price", "ask"):
        ticks[name][after] = ticks[name][after] // 4
    splits = [CorporateAction(symbol=s, ts_ns=acted, kind="split", numerator=4) for s in listed.symbols]
    lists = (listed, listed.with_actions(splits), listed.model_copy(update={"sessions": {"c": ((opens, acted), (acted, closes), second)}}))
    return [replace(m, ticks=ticks, place=replace(m.place, instruments=x)) for x in lists]


def test_skill_counts_no_spell_and_no_label_over_it(three, rules):
    def told(m):
        meter = SkillMeter(m.place, np.repeat(rules.thresholds, 3, 0))
        state = meter.start()
        return [(r.key, r.a.tobytes()) for x in m.cut([m.end, m.end + 20_000]) for r in meter.step(state, x)]

    plain, stated, calendar = (told(m) for m in three)
    assert stated == calendar
    assert stated != plain


def test_training_labels_do_not_reach_over_it(three):
    def found(m):
        nothing = np.zeros((len(m.ticks), 0), np.float32), np.zeros(len(m.ticks) + 1, np.int64), np.zeros(0, np.uint16)
        return find_targets(Prepared(m.place, m.ticks, m.slices, m.gate, m.use, *nothing))

    plain, stated, calendar = (found(m) for m in three)
    assert stated.row.size > 300
    for name in ("row", "spell", "label", "moved"):
        assert np.array_equal(getattr(stated, name), getattr(calendar, name))
    assert stated.row.size != plain.row.size


def test_an_action_of_a_signal_ends_at_it(three, rules):
    def signals(m):
        stage = DecodingStage(m.place, rules)
        (x,) = m.cut([m.end])
        return stage.step(stage.start(), x)[1].signals.tobytes()

    plain, stated, calendar = (signals(m) for m in three)
    assert stated == calendar
    assert stated != plain

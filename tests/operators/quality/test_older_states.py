"""A stored state of the gate as the code of an earlier day wrote it, taken on by today's.

tests/fixtures/gate_state_v1.pickle was written by the code of commit 613fb89 (the last with version 1, before its quality was told): the
snapshot of a QualityStage after 2000 ticks of the made tape.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from operators.timeline.state import migrated

STORED = Path(__file__).parents[2] / "fixtures" / "gate_state_v1.pickle"


def test_a_stored_gate_of_version_1_judges_every_tick_as_if_it_had_always_been_todays(made):
    place = made.place_of(1500 * made.MS)
    ticks, slices = made.made_ticks(4000, 5)
    middle, last = int(slices[2000]), int(slices[-1]) + 1
    at = int(np.searchsorted(slices, middle))
    stored = pickle.loads(STORED.read_bytes())
    assert stored["version"] == 1
    stage = made.QualityStage(place, made.START + 100 * made.MS)
    own, _ = stage.step(stage.start(), (int(slices[0]), middle, ticks[:at], slices[:at]))
    old = migrated("gate", stored["state"], 1, stage.version, stage.migrations)
    (want, want_leads), (got, got_leads) = (stage.step(s, (middle, last, ticks[at:], slices[at:]))[1] for s in (own, old))
    assert got.ticks.tobytes() == want.ticks.tobytes()
    assert got.gate.tobytes() == want.gate.tobytes()
    assert 1000 < got.ticks.size < 2000
    letters = [{r.key: r.a.tobytes() for r in x.rows if r.table == "dead_letters"} for x in (want, got)]
    assert letters[0] == letters[1] != {}
    assert [lead.price2.tolist() for lead in got_leads] == [lead.price2.tolist() for lead in want_leads]

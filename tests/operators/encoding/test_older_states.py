"""Stored states of features and encoder as the code of an earlier day wrote them: refused, and why they must be.

tests/fixtures/{features,encode}_state_v1.pickle were written by the code of commit ea622e6 (the last with version 1): snapshots of
both stages after 2000 ticks of the made tape. Version 2 came with other features, another code of the input neurons and another default
model, so whatever a run of version 1 had said before, it would go on with another network. There is nothing to migrate to.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from operators.timeline.state import migrated
from schemas.errors import StateMismatchError

FIXTURES = Path(__file__).parents[2] / "fixtures"


@pytest.mark.parametrize(("step", "stage"), [("features", "FeatureStage"), ("encode", "EncodingStage")])
def test_a_stored_state_of_version_1_is_refused_and_says_what_to_do(made, step, stage):
    stored = pickle.loads((FIXTURES / f"{step}_state_v1.pickle").read_bytes())
    now = getattr(made, stage)(made.place_of(1500 * made.MS))
    with pytest.raises(StateMismatchError, match=rf"{step}.*version 1.*needs {now.version}.*finish the run with the release that began it"):
        migrated(step, stored["state"], stored["version"], now.version, now.migrations)


@pytest.mark.parametrize(("step", "stage"), [("features", "FeatureStage"), ("encode", "EncodingStage")])
def test_it_could_not_be_taken_as_it_is(made, step, stage):
    """What the version guards against: the arrays have other columns."""
    old = pickle.loads((FIXTURES / f"{step}_state_v1.pickle").read_bytes())["state"]
    new = getattr(made, stage)(made.place_of(1500 * made.MS)).start()
    assert old.keys() == new.keys()
    assert any(old[name].shape != new[name].shape for name in new)

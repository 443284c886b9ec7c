"""A stored state of an account as the code of an earlier day wrote it, taken on by today's.

tests/fixtures/account_state_v1.pickle was written by the code of commit 5627a30 (the last with version 1 of the state, before control
messages): the snapshot of an AccountStage in the middle of `random_market(seed=68, seconds=60)`, with orders alive and positions held.
"""

from __future__ import annotations

import pickle
from pathlib import Path

from operators.book import AccountStage
from operators.timeline.state import migrated
from schemas.control import Accepted
from tests.operators.book.test_driver import assert_same_rows, tables

STORED = Path(__file__).parents[2] / "fixtures" / "account_state_v1.pickle"


def test_a_stored_account_of_version_1_goes_on_as_if_it_had_always_been_todays(random_market, command):
    market = random_market(seed=68, seconds=60)
    stored = pickle.loads(STORED.read_bytes())
    old = stored["state"]
    assert stored["version"] == 1
    assert "control" not in old["book"]
    assert len(old["book"]["orders"]) == 3
    stage = AccountStage(market.instruments, market.settings, market.shards)
    first, rest = market.outs([old["at"]])
    new = migrated("account", old, 1, stage.version, stage.migrations)
    own, _ = stage.step(stage.start(), first)
    assert isinstance(stage.step(own, command("change_limit", limit="max_open_orders", value="2"))[1], Accepted)
    assert isinstance(stage.step(new, command("change_limit", limit="max_open_orders", value="2"))[1], Accepted)
    want, got = (stage.step(s, rest)[1] for s in (own, new))
    assert_same_rows(tables(got), tables(want))
    assert len(tables(want)["executions"]) > 10

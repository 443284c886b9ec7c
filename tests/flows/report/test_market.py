"""The pass through the gates: counts that add up, and paths that do not hang on how the tape was cut."""

import numpy as np
import pytest

from flows.replay import cursor_of
from flows.report import load_run, market
from flows.report.market import survey
from flows.report.variants import tossed
from flows.trading import Stages
from operators.sinks import RunFolder
from operators.sources.tape import Tape
from operators.spiking import load_model
from schemas.settings import Settings
from schemas.tables import SIGNAL


def stages_of(folder: RunFolder, tape: Tape) -> Stages:
    return Stages(Settings.model_validate(folder.read_settings()), tape.instruments, load_model(None))


def test_all_ticks_that_passed_are_counted(small_run: tuple[RunFolder, Tape]) -> None:
    folder, tape = small_run
    stages = stages_of(folder, tape)
    counts = survey(stages, cursor_of(tape, stages)).counts.values()
    assert sum(c.read for c in counts) == load_run(folder)["ticks"]
    assert all(c.quotes + c.trades <= c.read for c in counts)
    assert all(c.off_exchange <= c.no_fill <= c.trades for c in counts)


def test_paths_do_not_hang_on_the_batches(small_run: tuple[RunFolder, Tape], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, tape = small_run
    stages = stages_of(folder, tape)
    whole = survey(stages, cursor_of(tape, stages))
    monkeypatch.setattr(market, "BATCH_TICKS", 777)
    cut = survey(stages, cursor_of(tape, stages))
    assert whole.counts == cut.counts
    for s, path in whole.paths.items():
        for name in ("ts_ns", "bid", "ask", "session"):
            assert np.array_equal(getattr(path, name), getattr(cut.paths[s], name))


def test_tossed_signals_keep_times_and_mirror_whole_stretches() -> None:
    signals = np.zeros(4000, SIGNAL)
    signals["ts_ns"] = np.arange(4000)
    signals["action"] = np.tile([1, -1, 0, -1, 0], 800)
    mirrored = tossed(signals, ("AAA",), 7)
    assert np.array_equal(mirrored["ts_ns"], signals["ts_ns"])
    ratio = np.where(signals["action"] == 0, 0, mirrored["action"] * signals["action"]).reshape(-1, 5)
    assert np.array_equal(mirrored["action"] == 0, signals["action"] == 0)
    assert np.array_equal(ratio[:, 0], ratio[:, 1])  # one stretch, one coin
    for coins in (ratio[:, 0], ratio[:, 3]):
        assert abs(coins.mean()) < 4 / np.sqrt(800)  # a fair coin, four standard errors
    assert not np.array_equal(mirrored["action"], tossed(signals, ("AAA",), 8)["action"])
    assert np.array_equal(mirrored["action"], tossed(signals, ("AAA",), 7)["action"])

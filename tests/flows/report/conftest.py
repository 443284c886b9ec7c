"""One small run, made once for all tests of the report."""

import shutil
from pathlib import Path

import pytest

from flows.replay import Execution, replay
from operators.sinks import RunFolder
from operators.sources.simulator import simulate
from operators.sources.tape import Tape
from schemas.settings import load_settings

TICKS = 120_000
"""Enough to close a block of five minutes, so that there is skill to report."""


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Tape]:
    """A finished run over a simulated tape with the default model."""
    folder = tmp_path_factory.mktemp("report")
    simulate(folder / "tape", TICKS, 5)
    opened = Tape.open(folder / "tape")
    outcome = replay(opened, load_settings(None, (), {}), None, folder / "run", Execution())
    assert outcome.run is not None
    assert outcome.run["fills"] > 0, "the tests of the report need fills"
    return outcome.folder, opened


@pytest.fixture
def own_run(small_run: tuple[RunFolder, Tape], tmp_path: Path) -> tuple[RunFolder, Tape]:
    """A copy of the small run that a test may damage."""
    folder, tape = small_run
    shutil.copytree(folder.path, tmp_path / "run")
    return RunFolder(tmp_path / "run"), tape

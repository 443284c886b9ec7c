"""Whether the peer is there is asked, never assumed; where it is, it takes every tick."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from benchmarks import nautilus_peer, replay
from operators.sources.simulator import simulate

RUN = {"ticks_per_cpu_s": 10.0, "rows_this_attempt": 100, "cpu_s": 10.0, "wall_s": 9.0, "stages": {"gate": {"cpu_s": 4.0}}}


@pytest.mark.parametrize("version", [None, "9.9"])
def test_the_note_says_what_is_installed_here(monkeypatch: pytest.MonkeyPatch, version: str | None, tmp_path: Path) -> None:
    def found(_name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(importlib.metadata, "version", found)
    monkeypatch.setattr(replay, "recorded_equity", lambda _say: tmp_path)
    monkeypatch.setattr(replay, "replay_once", lambda *_: RUN)
    monkeypatch.setattr(replay, "in_fresh_process", lambda *_: 4.0)
    measured = replay.measure(lambda _: None)["replay"]
    assert (measured.peer_value, measured.ratio) == ((None, None) if version is None else (4.0, 2.5))
    assert ("is not installed" in measured.note) == (version is None)
    assert ("nautilus_trader 9.9" in measured.note) == (version is not None)


def test_every_tick_reaches_the_peer(tmp_path: Path) -> None:
    pytest.importorskip("nautilus_trader", reason="pip install --group peers")
    simulate(tmp_path / "tape", 5000, 1)
    assert nautilus_peer.ticks_per_cpu_s(tmp_path / "tape") > 0

"""Names, shape and stored results of the benchmarks."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.figure import Figure, figure
from schemas.errors import UsageError

ISSUE_3 = {"replay", "framework_share", "two_workers", "start", "memory_growth", "epoch_cost", "tick_batch", "tick_call", "lif_step"}
ISSUE_4 = {"kafka_to_kafka", "order_latency", "transaction", "influx_points", "influx_query", "control_message"}
NAMES = ISSUE_3 | ISSUE_4


def test_the_names_of_the_issues_so_far_are_offered_and_no_others() -> None:
    assert set(run.PARTS) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_name_is_a_module_that_can_measure(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert name == module.NAME
    assert callable(module.measure)


@pytest.mark.parametrize("name", ["propagation", "brunel", "stdp", "replay.p50", "tick_call.p42", ""])
def test_an_unknown_name_is_wrong_use_and_all_names_are_told(name: str) -> None:
    with pytest.raises(UsageError) as e:
        run.run_benchmarks(["lif_step", name], lambda _: None)
    assert e.value.exit_code == 2
    for known in NAMES:
        assert known in str(e.value)


def test_a_part_is_given_alone_and_a_name_with_all_its_parts() -> None:
    assert run.chosen(["tick_call.p99"]) == {"tick_call": ("tick_call.p99",)}
    assert run.chosen(["tick_call"]) == {"tick_call": ("tick_call.p50", "tick_call.p99")}
    assert run.chosen(["tick_call.p99", "replay", "tick_call"]) == {"tick_call": ("tick_call.p99", "tick_call.p50"), "replay": ("replay",)}
    assert set(run.chosen([])) == NAMES


@pytest.mark.parametrize(
    ("sense", "goal", "met", "ratio"),
    [("over", 2, False, 0.5), ("at least", 2, True, 0.5), ("under", 2, False, 2), ("at most", 2, True, 2)],
)
def test_goal_and_ratio_follow_the_sense(sense: str, goal: float, met: bool, ratio: float) -> None:
    f = figure([1, 2, 4], "x", sense, goal, "", "peer", 4)  # type: ignore[arg-type]
    assert (f.value, f.met, f.ratio) == (2, met, ratio)
    assert f.spread == 1.5  # (4 - 1) / 2


def test_without_a_peer_there_is_no_ratio() -> None:
    f = figure([3], "x", "over", 2_000_000, "why", "nautilus_trader")
    assert (f.goal, f.peer_value, f.ratio, f.spread) == ("over 2,000,000", None, None, 0)


def test_results_are_stored_beside_those_of_other_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Module:
        @staticmethod
        def measure(_say: object) -> dict[str, Figure]:
            return {f"tick_call.{p}": figure([v], "us", "at most", 3, "n") for p, v in (("p50", 1), ("p99", 5))}

    monkeypatch.setattr(run, "OUT", tmp_path)
    monkeypatch.setattr(run.importlib, "import_module", lambda _name: Module)
    (tmp_path / "results.json").write_text(json.dumps({"replay": figure([1], "t", "over", 2, "").as_dict(), "gone": {}}))
    given = run.run_benchmarks(["tick_call.p99"], lambda _: None)
    assert list(given) == ["tick_call.p99"]
    assert given["tick_call.p99"]["value"] == 5
    assert given["tick_call.p99"]["met"] is False
    assert set(given["tick_call.p99"]) == set(run.COLUMNS)
    stored = json.loads((tmp_path / "results.json").read_text())
    assert list(stored) == ["replay", "tick_call.p99"]
    assert "| tick_call.p99 | 5.0 | us | at most 3 | False |" in (tmp_path / "results.md").read_text()


def test_a_damaged_file_of_results_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "OUT", tmp_path)
    (tmp_path / "results.json").write_text("{")
    run.keep({"replay": figure([1], "t", "over", 2, "").as_dict()})
    assert list(json.loads((tmp_path / "results.json").read_text())) == ["replay"]

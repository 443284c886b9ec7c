"""Savepoints of real runs: taken while they run, put back after kill -9, in place and elsewhere; damaged ones are found."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import flows.savepoint
from benchmarks.crash import replay_command
from flows.folder_copy import copy_lake
from flows.recovery_store import read_store
from flows.replay import Execution, Outcome, replay
from flows.savepoint import MANIFEST, RESTORING, Savepoint, opened, restore, save, savepoints_in
from operators.sinks import RunFolder, verify
from operators.sinks.runfolder import write_json
from operators.sources.tape import Tape
from schemas.errors import RefusedError, SavepointError, UsageError
from schemas.settings import load_settings
from tests.conftest import ROOT

SETTINGS = ("lake.compact_every_commits=2",)
"""Small files are merged and removed all the time, so that a lake is copied while files of it go away."""


def finished(tape: Tape, out: Path) -> Outcome:
    return replay(tape, load_settings(None, SETTINGS, {}), None, out, Execution())


@dataclass
class Saved:
    """A run that was killed at some time after savepoints of it were made, and the hash of the same run undisturbed."""

    tape: Tape
    hash: str
    run: Path
    points: list[Path]


def epochs(run: Path) -> int:
    try:
        return read_store(run / "recovery").epoch
    except SavepointError:
        return 0


@pytest.fixture(scope="module")
def saved(tapes: Callable[..., Tape], run_once: Callable[..., Outcome], tmp_path_factory: pytest.TempPathFactory) -> Saved:
    tape = tapes(60_000)
    undisturbed = run_once(tape, *SETTINGS)
    assert undisturbed.run is not None
    folder = tmp_path_factory.mktemp("saved")
    run, out = folder / "run", folder / "points"
    options = ["--set", SETTINGS[0]]
    flow = subprocess.Popen(
        replay_command(tape.path, run, 60.0, 1, 0.05, options), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 100
        at = 4
        points: list[Path] = []
        while len(points) < 3:
            assert flow.poll() is None
            assert time.monotonic() < until
            if epochs(run) < at:
                time.sleep(0.02)
                continue
            points.append(save(run, out, keep=3)[0].path)
            at = epochs(run) + 6
        later = epochs(run) + 4
        while epochs(run) < later and time.monotonic() < until:
            time.sleep(0.02)
        assert flow.poll() is None
    finally:
        flow.send_signal(signal.SIGKILL)
        flow.wait(timeout=20)
    return Saved(tape, undisturbed.run["output_hash"], run, points)


def goes_on(saved: Saved, run: Path) -> None:
    """The run is resumed in the middle and ends with the hash of the undisturbed one, every row there once."""
    outcome = finished(saved.tape, run)
    assert outcome.run is not None
    assert outcome.run["resumed"] is True
    assert outcome.run["output_hash"] == saved.hash
    assert verify(run).problems == []
    first = json.loads((run / "recovery" / "attempts.jsonl").read_text().splitlines()[0])
    assert 0 < first["rows"] < saved.tape.manifest.rows


@pytest.mark.parametrize("which", range(3))
def test_elsewhere(saved: Saved, tmp_path: Path, which: int) -> None:
    point = opened(saved.points[which])
    put = restore(point, tmp_path / "new")
    assert put == ("lake", "recovery", "settings.json")
    assert read_store(tmp_path / "new" / "recovery").epoch == point.epoch > 1
    goes_on(saved, tmp_path / "new")


def test_in_place_the_lake_is_ahead_and_rows_that_come_again_are_left_out(saved: Saved, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved.run, run)
    before = epochs(run)
    put = restore(opened(saved.points[0]), run)
    assert put == ("recovery",)
    assert epochs(run) < before
    outcome = finished(saved.tape, run)
    assert outcome.run is not None
    assert outcome.run["output_hash"] == saved.hash
    assert outcome.run["rows_skipped_by_token"] > 0
    assert verify(run).problems == []
    with pytest.raises(RefusedError, match="holds a finished run"):
        restore(opened(saved.points[0]), run)


def test_of_a_finished_run_it_is_a_finished_run(saved: Saved, tmp_path: Path) -> None:
    finished(saved.tape, tmp_path / "run")
    point, _ = save(tmp_path / "run", tmp_path / "points", keep=1)
    restore(point, tmp_path / "again")
    outcome = finished(saved.tape, tmp_path / "again")
    assert outcome.already
    assert outcome.run is not None
    assert outcome.run["output_hash"] == saved.hash
    assert verify(tmp_path / "again").problems == []


def one_bit(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(bytes(raw))


def lake_file(point: Path) -> Path:
    return max((point / "run" / "lake").rglob("*.parquet"), key=lambda p: p.stat().st_size)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "state": (lambda p: one_bit(p / "run" / "recovery" / "part-0.sqlite3"), "part-0.sqlite3 has changed"),
    "rows": (lambda p: one_bit(lake_file(p)), "parquet has changed"),
    "cut short": (lambda p: lake_file(p).write_bytes(lake_file(p).read_bytes()[:-1]), "parquet has changed"),
    "missing": (lambda p: lake_file(p).unlink(), "parquet is missing"),
    "added": (lambda p: (p / "run" / "lake" / "more").write_text("x"), "more does not belong to it"),
    "manifest": (lambda p: one_bit(p / MANIFEST), "manifest.json is not what was written"),
    "no manifest": (lambda p: (p / MANIFEST).unlink(), "holds no savepoint"),
}


IN_THE_LAKE = ("rows", "cut short", "missing", "added")


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_savepoint_is_found_and_nothing_is_restored(saved: Saved, tmp_path: Path, damage: str) -> None:
    point, new, run = tmp_path / "point", tmp_path / "new", tmp_path / "run"
    shutil.copytree(saved.points[1], point)
    shutil.copytree(saved.run, run)
    done, words = DAMAGES[damage]
    done(point)
    if damage in IN_THE_LAKE:
        shutil.rmtree(run / "lake")  # where the lake is there, the savepoint's is not looked at
    before = contents(run)
    for to in (new, run):
        with pytest.raises(SavepointError, match=words):
            restore(opened(point), to)
    assert contents(new) == {}
    assert contents(run) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "lock"}


def test_a_folder_in_use_of_another_job_or_none_is_refused(saved: Saved, tmp_path: Path) -> None:
    point = opened(saved.points[0])
    with RunFolder(tmp_path / "used").locked(), pytest.raises(RefusedError, match="is in use by process"):
        restore(point, tmp_path / "used")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("mine")
    with pytest.raises(RefusedError, match="holds no run"):
        restore(point, tmp_path / "none")
    other = tmp_path / "other"
    shutil.copytree(saved.run, other)
    write_json(other / "identity.json", {**point.identity, "settings": "others", "tape": "another"})
    with pytest.raises(RefusedError, match="holds another job.*tape, settings differ"):
        restore(point, other)


def of_another_release(saved: Saved, folder: Path) -> Savepoint:
    shutil.copytree(saved.points[0], folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["digest"]
    manifest["identity"]["code"] = "0" * 64
    write_json(folder / MANIFEST, {**manifest, "digest": flows.savepoint._digest(manifest)})
    return opened(folder)


def test_the_state_of_another_release_is_taken_over_only_if_asked_for(saved: Saved, tmp_path: Path) -> None:
    point = of_another_release(saved, tmp_path / "point")
    with pytest.raises(RefusedError, match=r"another release \(000000000000.*--force"):
        restore(point, tmp_path / "new")
    restore(point, tmp_path / "new", other_code=True)
    goes_on(saved, tmp_path / "new")


def test_only_so_many_are_kept_and_those_of_other_runs_stay(saved: Saved, tmp_path: Path) -> None:
    out = tmp_path / "points"
    made = [save(saved.run, out, keep=5)[0].path for _ in range(3)]
    foreign = of_another_release(saved, out / "00000000T000000Z-01").path
    cut_short = out / "20200101T000000Z-01.part"
    cut_short.mkdir()
    last, gone = save(saved.run, out, keep=2)
    assert list(gone) == made[:2]
    assert savepoints_in(out) == [foreign, made[2], last.path]
    assert opened(out).path == last.path
    assert not cut_short.exists()
    with pytest.raises(UsageError, match="--keep 0"):
        save(saved.run, out, keep=0)


def test_one_at_a_time_in_a_folder(saved: Saved, tmp_path: Path) -> None:
    with flows.savepoint._alone_in(tmp_path), pytest.raises(RefusedError, match="another savepoint is being made"):
        save(saved.run, tmp_path, keep=1)


class Cut(BaseException):
    """The process dies here."""


WRITES = 8
"""Marker; identity goes; the lake comes, and nothing that it replaced goes; the state goes, another comes; identity; the marker goes."""


@pytest.mark.parametrize("moment", range(WRITES))
def test_a_restore_cut_short_is_done_again_and_no_run_starts_meanwhile(
    saved: Saved, tmp_path: Path, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved.run, run)
    shutil.rmtree(run / "lake")
    point = opened(saved.points[1])
    left = [moment]

    def dying(do: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise Cut
            left[0] -= 1
            return do(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        switch = flows.savepoint._switch

        def disturbed(*arguments: Any) -> None:
            patch.setattr(flows.savepoint, "write_json", dying(write_json))
            patch.setattr(Path, "rename", dying(Path.rename))
            patch.setattr(Path, "unlink", dying(Path.unlink))
            switch(*arguments)

        patch.setattr(flows.savepoint, "_switch", disturbed)
        with pytest.raises(Cut):
            restore(point, run)
    if not (run / "identity.json").exists():
        with pytest.raises(RefusedError, match="holds no run"):
            finished(saved.tape, run)
    restore(point, run)
    assert not (run / RESTORING).exists()
    assert sorted(p.name for p in run.iterdir()) == ["identity.json", "lake", "lock", "recovery", "settings.json"]
    assert read_store(run / "recovery").epoch == point.epoch


def test_a_lake_whose_files_go_away_while_it_is_copied_is_copied_anew(
    saved: Saved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copyfile, calls = shutil.copyfile, [0]

    def vanishing(source: Path, target: Path) -> Path:
        calls[0] += 1
        if calls[0] == 7:
            raise FileNotFoundError(source)
        return copyfile(source, target)

    monkeypatch.setattr(shutil, "copyfile", vanishing)
    copy_lake(saved.run / "lake", tmp_path / "lake")
    monkeypatch.undo()
    shutil.copytree(saved.run, tmp_path / "run", ignore=lambda _d, names: [n for n in names if n == "lake"])
    (tmp_path / "lake").rename(tmp_path / "run" / "lake")
    goes_on_after_kill = finished(saved.tape, tmp_path / "run")
    assert goes_on_after_kill.run is not None
    assert goes_on_after_kill.run["output_hash"] == saved.hash


def test_by_command(saved: Saved, tmp_path: Path, spiketape: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    made = spiketape("savepoint", saved.run, "--out", tmp_path / "points", "--json")
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["lake"] is True
    assert told["epoch"] == epochs(saved.run)
    put = spiketape("restore", tmp_path / "points", "--to", tmp_path / "new", "--json")
    assert put.returncode == 0, put.stderr
    assert json.loads(put.stdout)["restored"] == ["lake", "recovery", "settings.json"]
    refused = spiketape("restore", tmp_path / "points", "--to", tmp_path / "points")
    assert refused.returncode == 3
    assert "holds no run" in refused.stderr
    nothing = spiketape("savepoint", tmp_path)
    assert nothing.returncode == 1
    assert "holds no run" in nothing.stderr
    wrong = spiketape("rescale", "--from", saved.run, "--to", f"{tmp_path}/a=0")
    assert wrong.returncode == 1
    assert "only a `signals` process" in wrong.stderr

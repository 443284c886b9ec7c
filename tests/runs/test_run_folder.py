"""What a run folder survives: a second process, another job, a full disk, no rights, signals, damage, and state of another flow."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable, write_deltalake

from flows.replay import Execution, Outcome, replay
from operators.quality.stage import QualityStage
from operators.sources.tape import Tape
from operators.timeline.registry import REGISTRY
from schemas.settings import load_settings

ROOT = Path(__file__).parents[2]
SMALL = 20_000
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def drained_once(tapes: Callable[..., Tape], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder in the middle of its run: SIGTERM came when half of the ticks were read."""
    out = tmp_path_factory.mktemp("drained") / "run"
    sent = []

    def on_rows(rows: int, total: int) -> None:
        if rows * 2 > total and not sent:
            sent.append(rows)
            os.kill(os.getpid(), signal.SIGTERM)

    execution = Execution(batch_ticks=2000, epoch_s=0.0)
    outcome = replay(tapes(SMALL), load_settings(None, (), {}), None, out, execution, on_rows=on_rows)
    assert outcome.run is None
    assert outcome.drained_by == signal.SIGTERM
    return out


@pytest.fixture
def drained(drained_once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(drained_once, tmp_path / "drained"))


@pytest.fixture
def undisturbed(tapes: Callable[..., Tape], run_once: Callable[..., Outcome]) -> Outcome:
    return run_once(tapes(SMALL))


def options(tapes: Callable[..., Tape], out: Path) -> tuple[Any, ...]:
    return ("replay", tapes(SMALL).path, "--out", out, "--no-report", "--json")


def test_a_drained_run_is_gone_on_with(cli: Cli, tapes: Callable[..., Tape], drained: Path, undisturbed: Outcome) -> None:
    assert not (drained / "run.json").exists()
    ended = cli(*options(tapes, drained), "--workers", 2)
    assert ended.code == 0, ended.err
    run = json.loads(ended.out)
    assert run["resumed"] is True
    assert 0 < run["rows_this_attempt"] < SMALL
    assert run["output_hash"] == undisturbed.run["output_hash"]
    assert cli("verify", drained).code == 0


def test_a_finished_run_is_reported_and_not_run_again(cli: Cli, tapes: Callable[..., Tape], drained: Path) -> None:
    first = cli(*options(tapes, drained))
    lake = sorted((p, p.stat().st_mtime_ns) for p in (drained / "lake").rglob("*"))
    again = cli(*options(tapes, drained))
    assert again.code == 0
    assert again.out == first.out
    assert "finished" in again.err
    assert lake == sorted((p, p.stat().st_mtime_ns) for p in (drained / "lake").rglob("*"))


def test_a_folder_of_another_job_is_refused_and_fresh_starts_over(cli: Cli, tapes: Callable[..., Tape], drained: Path) -> None:
    other = (*options(tapes, drained), "--set", "book.holding_s=20")
    cli(*other).told(3, "another job", "settings differs", "--fresh")
    cli(*options(tapes, drained), "--forget").told(3, "settings differs")
    assert cli(*options(tapes, drained)).code == 0
    cli(*other).told(3, "a finished run of another job")
    fresh = cli(*other, "--fresh")
    assert fresh.code == 0
    assert json.loads(fresh.out)["resumed"] is False
    (drained.parent / "mine").mkdir()
    (drained.parent / "mine" / "letter.txt").write_text("not a run")
    cli(*options(tapes, drained.parent / "mine"), "--fresh").told(3, "holds no run")
    assert (drained.parent / "mine" / "letter.txt").exists()


def test_a_folder_in_use_is_refused_with_the_process_that_uses_it(cli: Cli, tapes: Callable[..., Tape], drained: Path) -> None:
    with (drained / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711")
        lock.flush()
        cli(*options(tapes, drained)).told(3, "in use by process 4711")
        cli(*options(tapes, drained), "--fresh").told(3, "in use by process 4711")
    assert cli(*options(tapes, drained)).code == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {("trading.gatt.stage" if k == "trading.gate.stage" else k): v for k, v in s.items()}, ("gatt", "trading.gate.stage")),
        (lambda s: {k: v for k, v in s.items() if k != "trading.account.stage"}, ("lacks steps", "trading.account.stage")),
        (lambda s: {**s, "trading.more.stage": 1}, ("trading.more.stage", "does not have")),
        (lambda s: {**s, "trading.infer.stage": 99}, ("newer release", "trading.infer.stage", "99")),
    ],
    ids=["renamed", "missing", "unknown", "newer"],
)
def test_state_of_another_set_of_steps_is_refused(
    cli: Cli, tapes: Callable[..., Tape], drained: Path, change: Callable[[dict[str, int]], dict[str, int]], words: tuple[str, ...]
) -> None:
    registry = drained / "recovery" / REGISTRY
    registry.write_text(json.dumps(change(json.loads(registry.read_text()))))
    cli(*options(tapes, drained)).told(5, *words)
    assert not (drained / "run.json").exists()


def test_a_step_of_the_store_that_the_flow_does_not_have_is_refused(cli: Cli, tapes: Callable[..., Tape], drained: Path) -> None:
    with closing(sqlite3.connect(drained / "recovery" / "part-0.sqlite3")) as db, db:
        db.execute("UPDATE snaps SET step_id = 'trading.gatt.stage' WHERE step_id = 'trading.gate.stage'")
    cli(*options(tapes, drained)).told(5, "trading.gatt.stage", "silently")


def test_an_older_state_is_refused_without_a_migration_and_taken_with_one(
    cli: Cli, tapes: Callable[..., Tape], drained: Path, undisturbed: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = QualityStage.version
    monkeypatch.setattr(QualityStage, "version", written + 1)
    cli(*options(tapes, drained)).told(5, "gate", f"has no migration from {written}", "--fresh")
    brought_up = []

    def migration(state: dict[str, Any]) -> dict[str, Any]:
        brought_up.append(1)
        return state

    monkeypatch.setattr(QualityStage, "migrations", {written: migration})
    ended = cli(*options(tapes, drained))
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["output_hash"] == undisturbed.run["output_hash"]
    assert len(brought_up) == len(set(undisturbed.run["symbols"]))  # one symbol a shard on this tape
    assert json.loads((drained / "recovery" / REGISTRY).read_text())["trading.gate.stage"] == QualityStage.version


def test_a_damaged_recovery_store_is_told(cli: Cli, tapes: Callable[..., Tape], drained: Path) -> None:
    part = drained / "recovery" / "part-0.sqlite3"
    whole = part.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no database" * 1000):
        part.write_bytes(content)
        cli(*options(tapes, drained)).told(1, "part-0.sqlite3", "--fresh")
    part.unlink()
    cli(*options(tapes, drained)).told(1, "recovery", "--fresh")
    part.write_bytes(whole)
    with closing(sqlite3.connect(part)) as db, db:
        (stored,) = db.execute("SELECT ser_change FROM snaps WHERE step_id = 'trading.features.stage' LIMIT 1").fetchone()
        changed = bytearray(stored)
        changed[len(changed) * 2 // 3] ^= 1
        db.execute("UPDATE snaps SET ser_change = ? WHERE ser_change = ?", (bytes(changed), stored))
    cli(*options(tapes, drained)).told(1, "trading.features.stage", "is damaged", "--fresh")
    (drained / "recovery" / REGISTRY).write_text("{")
    cli(*options(tapes, drained)).told(5, REGISTRY, "--fresh")
    assert cli(*options(tapes, drained), "--fresh").code == 0


def test_damaged_files_of_the_run_folder_are_told(cli: Cli, tapes: Callable[..., Tape], drained: Path) -> None:
    (drained / "identity.json").write_text('{"tape": ')
    cli(*options(tapes, drained)).told(1, "identity.json", "--fresh")
    assert cli(*options(tapes, drained), "--fresh").code == 0
    (drained / "run.json").write_text("[]")
    cli("verify", drained).told(1, "run.json")
    cli(*options(tapes, drained)).told(1, "run.json")


def changed_copy(run: Path, to: Path, table: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Path:
    """A copy of a run whose table is written anew with `change`."""
    shutil.copytree(run, to)
    path = to / "lake" / table
    delta = DeltaTable(str(path))
    rows = change(pl.read_delta(str(path)))
    description, schema = delta.metadata().description, delta.to_pyarrow_table().schema if hasattr(delta, "to_pyarrow_table") else None
    shutil.rmtree(path)
    write_deltalake(str(path), rows.to_arrow().cast(schema) if schema is not None else rows.to_arrow(), description=description)
    return to


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("missing", lambda rows, at: rows.filter(~at)),
        ("doubled", lambda rows, at: pl.concat([rows, rows.filter(at)])),
        ("changed", lambda rows, at: rows.with_columns(pl.when(at).then(pl.col("slice") + 1).otherwise(pl.col("slice")).alias("slice"))),
    ],
)
@pytest.mark.parametrize("table", ["orders", "signals"])
def test_verify_finds_what_is_missing_doubled_and_changed(
    cli: Cli, undisturbed: Outcome, tmp_path: Path, table: str, kind: str, change: Callable[[pl.DataFrame, Any], pl.DataFrame]
) -> None:
    key = "account" if table == "orders" else "symbol"
    rows = pl.read_delta(str(undisturbed.folder.lake / table))
    name = rows.group_by(key).len().sort("len")[key].to_list()[-1]
    last = int(rows.filter(pl.col(key) == name)["n"].max())  # type: ignore[arg-type]
    n = last // 2
    at = (pl.col(key) == name) & (pl.col("n") == n)
    damaged = changed_copy(undisturbed.folder.path, tmp_path / "copy", table, lambda r: change(r, at))
    ended = cli("verify", damaged)
    assert ended.code == 1
    assert f"{kind}: {table}/{name}/{n}:" in ended.err
    told = json.loads(cli("verify", damaged, "--json").out)
    assert told["ok"] is False
    assert (kind, table, name, n) in [(p["kind"], p["table"], p["key"], p["n"]) for p in told["problems"]]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_drains_and_the_same_command_finishes(
    signum: int, code: int, tapes: Callable[..., Tape], undisturbed: Outcome, tmp_path: Path, spiketape: Callable[..., Any]
) -> None:
    command = [*options(tapes, tmp_path / "run"), "--batch-ticks", 500, "--epoch-s", 0.2, "--speed", 20]
    with subprocess.Popen(
        [sys.executable, "-m", "flows", *map(str, command)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        notes = tmp_path / "run" / "recovery" / "attempts.jsonl"
        until = time.monotonic() + 120
        while not notes.exists() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.7)
        process.send_signal(signum)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert out == ""
    assert signal.Signals(signum).name in err
    assert "same command" in err
    assert str(tmp_path / "run") in err
    assert "Traceback" not in err
    done = spiketape(*options(tapes, tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["resumed"] is True
    assert run["output_hash"] == undisturbed.run["output_hash"]


@pytest.mark.parametrize("size", ["16k", "100k", "400k", "700k", "1000k"])
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    size: str, small_disk: Callable[[str], Path], spiketape: Callable[..., Any], tapes: Callable[..., Tape], undisturbed: Outcome
) -> None:
    disk = small_disk(size)
    command = [*options(tapes, disk / "run"), "--batch-ticks", 1000, "--epoch-s", 0]
    full = spiketape(*command)
    assert full.returncode == 1, (full.stdout, full.stderr)
    assert "Traceback" not in full.stderr
    assert "panicked" not in full.stderr
    assert "full" in full.stderr
    assert full.stdout == ""
    small_disk("64m")
    done = spiketape(*command)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output_hash"] == undisturbed.run["output_hash"]
    assert spiketape("verify", disk / "run").returncode == 0


def test_a_read_only_run_folder_is_told(tapes: Callable[..., Tape], tmp_path: Path) -> None:
    """As a user without the rights of root, in a process of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become a user without rights")
    shutil.copytree(tapes(SMALL).path, tmp_path / "tape")
    for path in (tmp_path, *tmp_path.parents[:2], *tmp_path.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    (tmp_path / "run").mkdir(mode=0o555)
    program = (
        "import sys, os\n"
        "import flows.cli, flows.replay, flows.report, operators.sinks, flows.report.terminal\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "sys.argv = ['spiketape', *sys.argv[1:]]\n"
        "flows.cli.main()\n"
    )
    for out in (tmp_path / "run", tmp_path / "run" / "deeper"):
        done = subprocess.run(
            [sys.executable, "-c", program, "replay", str(tmp_path / "tape"), "--out", str(out), "--no-report"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "no right to write there" in done.stderr
        assert str(out) in done.stderr

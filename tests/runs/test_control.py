"""A replay with a control log gives what the run gave that accepted its messages, however it is executed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from flows.offline import shard_outs
from flows.replay import Execution, cursor_of, replay
from flows.trading import Stages
from operators.book import AccountStage
from operators.sinks import Ledger, RunFolder, verify
from operators.spiking import load_model
from schemas.control import Accepted, Command, ControlLog, audit_line, sign
from schemas.errors import RefusedError
from schemas.messages import ControlMessage
from schemas.settings import load_settings

KEY = "a key for tests only"
SAID = [
    ("change_limit", {"limit": "max_position_fraction", "value": "0.004"}),
    ("pause", {}),
    ("resume", {}),
    ("reduce", {}),
    ("exclude_partition", {"partition": "1"}),
    ("resume", {}),
    ("emergency", {}),
    ("pause", {}),
    ("resume", {}),
]


def commands() -> Iterator[Command]:
    for i, (kind, arguments) in enumerate(SAID):
        message = ControlMessage(id=f"m{i}", kind=kind, arguments=arguments, reason="a test")
        yield Command(sign(message, SecretStr(KEY), "spiketape"))


@pytest.fixture(scope="module")
def live(tapes: Callable[..., Any]) -> tuple[ControlLog, str]:
    """A run whose account takes control messages between its ranges: what was accepted, and its output hash."""
    tape = tapes()
    settings = load_settings(None, (f"control.key={KEY}",), {})
    stages = Stages(settings, tape.instruments, load_model())
    stage = AccountStage(tape.instruments, settings, stages.shards)
    ledger = Ledger(tape.instruments.symbols, [i.notional_scale for i in tape.instruments.instruments])
    state, accepted, waiting = stage.start(), [], commands()
    for n, out in enumerate(shard_outs(stages, cursor_of(tape, stages), 7_000)):
        state, rows = stage.step(state, out)
        for r in rows:
            ledger.take(r)
        command = next(waiting, None) if n % 2 else None
        if command is not None:
            state, judged = stage.step(state, command)
            assert isinstance(judged, Accepted)
            accepted.append(judged.message)
    assert len(accepted) == len(SAID)
    return ControlLog(tuple(accepted)), ledger.output_hash()


@pytest.mark.parametrize(
    "execution",
    [{}, {"batch_ticks": 3_000}, {"workers": 2, "batch_ticks": 20_000}, {"epoch_s": 0.0, "batch_ticks": 30_000}],
    ids=str,
)
def test_a_replay_with_the_log_gives_the_live_runs_hash(
    execution: dict[str, Any], live: tuple[ControlLog, str], tapes: Callable[..., Any], run_once: Callable[..., Any], tmp_path: Path
) -> None:
    log, output_hash = live
    done = replay(tapes(), load_settings(None, (), {}), None, tmp_path, Execution(**execution), control=log)
    assert done.run["output_hash"] == output_hash != run_once(tapes()).run["output_hash"]
    assert verify(tmp_path).ok


def test_the_log_is_part_of_a_runs_identity(live: tuple[ControlLog, str], tapes: Callable[..., Any], tmp_path: Path) -> None:
    log, output_hash = live
    settings, execution = load_settings(None, (), {}), Execution(lake=False)
    done = replay(tapes(), settings, None, tmp_path, execution, control=log)
    assert done.run["output_hash"] == output_hash
    assert replay(tapes(), settings, None, tmp_path, execution, control=log).already
    for other in (ControlLog(), ControlLog(log.messages[:-1])):
        with pytest.raises(RefusedError):
            replay(tapes(), settings, None, tmp_path, execution, control=other)
    assert RunFolder(tmp_path).identity().settings.endswith(log.digest)


def test_the_command_reads_the_audits_lines(
    live: tuple[ControlLog, str], tapes: Callable[..., Any], spiketape: Callable[..., Any], tmp_path: Path
) -> None:
    log, output_hash = live
    path = tmp_path / "audit.jsonl"
    lines = [audit_line(Accepted(m.effective_slice, m)).decode() for m in log.messages]
    path.write_text("\n".join(['{"version":1,"event":"started"}', *lines]) + "\n")
    done = spiketape("replay", tapes().path, "--out", tmp_path / "run", "--control", path, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output_hash"] == output_hash
    assert "control messages steered it" in (tmp_path / "run" / "report.html").read_text()
    path.write_text("nonsense\n")
    done = spiketape("replay", tapes().path, "--out", tmp_path / "other", "--control", path)
    assert done.returncode == 2
    assert "line 1" in done.stderr

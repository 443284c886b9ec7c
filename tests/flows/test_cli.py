"""The command line: what each command says where, its exit codes, and what it says to wrong options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.app import app
from flows.cli.replay_command import default_folder
from flows.replay import short_hash
from flows.terminal import iso_time, parsed_duration, parsed_time
from operators.sources.simulator import simulate
from operators.spiking import DEFAULT_MODEL
from schemas.control import NO_LOG
from schemas.errors import UsageError
from schemas.settings import load_settings

Cli = Callable[..., Any]
COMMANDS = {
    "": (
        *("simulate", "import", "tape", "bars", "replay", "train", "evaluate", "query", "verify", "report", "diff", "doctor", "bench"),
        *("produce", "live", "savepoint", "restore", "rescale"),
    ),
    "run": ("trading", "signals", "book", "venue", "record"),
    "control": ("pause", "reduce", "emergency", "resume", "exclude-partition", "log", "change-limit"),
    "servers": ("fetch", "up", "down", "status"),
    "topics": ("apply", "show"),
    "influx": ("apply", "show", "token", "downsample"),
}
"""By group; "" has those without one."""


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "small"
    simulate(path, 20_000, 5)
    return path


@pytest.fixture(scope="module")
def run(tape: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from flows.replay import Execution, replay
    from operators.sources.tape import Tape
    from schemas.settings import load_settings

    out = tmp_path_factory.mktemp("cli") / "run"
    replay(Tape.open(tape), load_settings(None, (), {}), None, out, Execution())
    return out


def test_every_command_is_there_and_its_help_has_an_example(cli: Cli) -> None:
    groups = {str(g.name or g.typer_instance.info.name): g.typer_instance for g in app.registered_groups if g.typer_instance is not None}
    assert {name: {c.name for c in group.registered_commands} for name, group in {"": app, **groups}.items()} == {
        group: set(names) for group, names in COMMANDS.items()
    }
    for group, names in COMMANDS.items():
        for name in names:
            words = [group, name] if group else [name]
            ended = cli(*words, "--help")
            assert ended.code == 0
            assert "Example" in ended.out, words
            assert f"spiketape {' '.join(words)}" in " ".join(ended.out.split("Example")[1].replace("│", " ").split()), words
            assert "--json" in ended.out, words


def test_json_is_one_object_on_standard_output_and_nothing_else(
    cli: Cli, tape: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    csv = tmp_path / "trades.csv"
    csv.write_text("time,px,qty\n" + "".join(f"{1_700_000_000_000 + i},{100 + i % 3},1\n" for i in range(50)))
    calls: dict[str, tuple[Any, ...]] = {
        "simulate": ("--out", "made", "--ticks", 500),
        "import": (csv, "--out", "imported", "--map", "ts=time,unit=ms,price=px,size=qty,name=X"),
        "tape": (tape,),
        "bars": (tape, "--every", "30s"),
        "replay": (tape, "--out", "again"),
        "query": (run, "SELECT count(*) AS n FROM orders"),
        "verify": (run,),
        "report": (run,),
        "diff": (run, run),
        "doctor": (),
    }
    told = {}
    for name, arguments in calls.items():
        ended = cli(name, *arguments, "--json")
        assert ended.code == 0, (name, ended.err)
        told[name] = json.loads(ended.out)
        assert isinstance(told[name], dict), name
        assert "Traceback" not in ended.err
    assert told["simulate"]["ticks"] == 500
    assert (told["import"]["rows_read"], told["import"]["ticks"]) == (50, 50)
    assert told["tape"]["rows"] == 20_000 == told["replay"]["rows_read"]
    assert told["tape"]["checksum_ok"] is True
    assert told["replay"] == json.loads((tmp_path / "again" / "run.json").read_text())
    assert told["verify"]["ok"] is True
    assert told["verify"]["output_hash"] == told["replay"]["output_hash"]
    assert told["diff"]["same"] is True
    assert told["query"]["rows"][0]["n"] > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--workers", "x"), ("--workers", "'x'", "valid integer")),
        (("--workers", "0"), ("--workers 0", "from 1 to")),
        (("--batch-ticks", "0"), ("--batch-ticks 0", "from 1 to")),
        (("--epoch-s", "nan"), ("--epoch-s nan", "from 0 to")),
        (("--epoch-s", "1e30"), ("--epoch-s 1e+30", "from 0 to")),
        (("--speed", "0"), ("--speed 0", "above 0")),
        (("--speed", "nan"), ("--speed nan", "above 0")),
        (("--speed", "inf"), ("--speed inf", "above 0")),
        (("--sink", "kafka"), ("--sink kafka", "lake, influx")),
        (("--symbols", "AAPL,SIM001"), ("--symbols AAPL", "SIM000")),
        (("--symbols", ","), ("--symbols ','",)),
        (("--from", "yesterday"), ("--from 'yesterday'", "ISO time", "nanoseconds")),
        (("--from", "2050-01-01"), ("--from 2050-01-01T00:00:00Z", "the tape goes from 2024-01-08T14:28:00Z")),
        (("--to", "2300-01-01"), ("--to '2300-01-01'", "1970 to 2116")),
        (("--to", "1" + "0" * 5000), ("--to", "ISO time")),
        (("--to", "1990-01-01"), ("--to 1990-01-01T00:00:00Z", "the tape goes from")),
        (("--from", "2024-01-08T14:29:00", "--to", "2024-01-08T14:28:30"), ("must be after --from",)),
        (("--warm-up", "5m"), ("--warm-up 5m", "needs --from")),
        (("--from", "2024-01-08T14:29:00", "--warm-up", "5 parsecs"), ("--warm-up '5 parsecs'", "ms, s, m, h, d")),
        (("--from", "2024-01-08T14:29:00", "--warm-up", "-5m"), ("--warm-up '-5m'",)),
        (("--from", "2024-01-08T14:29:00", "--warm-up", "infm"), ("--warm-up 'infm'",)),
        (("--slice-ms", "0"), ("slice_ms", "given: 0", "greater than or equal to 1")),
        (("--profile", "wild"), ("profile", "'wild'", "research")),
        (("--set", "risk"), ("--set 'risk'", "key=value")),
        (("--set", "risk.max_drawdown=lots"), ("risk.max_drawdown", "'lots'")),
        (("--set", "rsk.max_drawdown=0.1"), ("rsk",)),
        (("--set", "risk=0.1"), ("risk", "'0.1'")),
        (("--nonsense",), ("--nonsense",)),
    ],
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else None,
)
def test_a_wrong_option_is_named_with_what_was_given_and_what_is_allowed(
    cli: Cli, tape: Path, tmp_path: Path, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ended = cli("replay", tape, "--out", tmp_path / "run", *options)
    ended.told(2, *words)
    assert ended.out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("bars", "TAPE", "--every", "0s"), ("--every '0s'",)),
        (("bars", "TAPE", "--every", "1e300d"), ("--every '1e300d'",)),
        (("bars", "TAPE", "--symbol", "AAPL"), ("--symbol AAPL", "SIM000")),
        (("query", "RUN", "SELECT nothing FROM orders"), ("nothing", "quantity")),
        (("query", "RUN", "SELECT * FROM nowhere"), ("nowhere", "executions")),
        (("query", "RUN", "SELEC"), ("query",)),
        (("query", "RUN", ""), ("query",)),
        (("query", "RUN", "DROP TABLE orders"), ("SELECT",)),
        (("simulate", "--out", "x", "--ticks", "0"), ("--ticks", "'0'")),
        (("simulate", "--out", "x", "--edge", "2"), ("--edge", "'2'")),
        (("import", "nowhere", "--out", "x"), ("nowhere",)),
        (("import", "TAPE", "--out", "x", "--format", "fax"), ("--format", "'fax'", "lobster")),
        (("nonsense",), ("nonsense",)),
    ],
    ids=lambda v: " ".join(v)[:60] if isinstance(v, tuple) else None,
)
def test_wrong_use_of_the_other_commands(
    cli: Cli, tape: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"TAPE": tape, "RUN": run}
    cli(*(names.get(a, a) for a in arguments)).told(2, *words)
    assert list(tmp_path.iterdir()) == []


def test_settings_files_that_cannot_be_used(cli: Cli, tape: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    for content, words in (
        (b"slice_ms = [", ("not valid TOML",)),
        (b"\xff\xfe\x00", ("not valid TOML",)),
        (b"sliice_ms = 100", ("sliice_ms",)),
        (b"[risk]\nmax_drawdown = 7", ("risk.max_drawdown", "7")),
    ):
        file.write_bytes(content)
        cli("replay", tape, "--out", tmp_path / "run", "--config", file).told(2, *words)
    cli("replay", tape, "--config", tmp_path / "none.toml").told(2, "none.toml", "No such file")
    cli("replay", tape, "--config", tmp_path).told(2, "Is a directory")


def test_a_setting_of_the_environment_that_does_not_exist_is_an_error(cli: Cli, tape: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKETAPE_RISK__MAX_DROWDOWN", "0.1")
    cli("replay", tape).told(2, "max_drowdown")


def test_what_is_not_there_is_told_with_what_to_do(cli: Cli, tape: Path, run: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    for arguments in (("replay", nowhere), ("tape", nowhere), ("bars", nowhere), ("train", nowhere, "--out", "m")):
        cli(*arguments).told(1, "no tape", "spiketape import")
    cli("replay", tmp_path).told(1, "manifest.json")
    for arguments in (("verify", nowhere), ("query", nowhere, "SELECT 1"), ("diff", run, nowhere), ("diff", nowhere, run)):
        cli(*arguments).told(1, str(nowhere))
    cli("verify", tape).told(1, "no run")
    cli("evaluate", nowhere, tape).told(1, "model file", "No such file")
    cli("simulate", "--out", tape, "--ticks", 10).told(3, "exists already")


def test_a_difference_of_runs_and_a_failed_check_exit_with_1(cli: Cli, tape: Path, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert cli("replay", tape, "--out", other, "--set", "book.entry=market", "--no-report").code == 0
    ended = cli("diff", run, other, "--json")
    assert ended.code == 1
    found = json.loads(ended.out)
    assert found["settings"] == {"book.entry": ["passive", "market"]}
    assert found["first"]["table"] in ("orders", "verdicts", "executions", "positions", "equity")
    assert found["first"]["a"] != found["first"]["b"]
    told = cli("diff", run, other)
    assert told.code == 1
    assert "book.entry" in told.out
    assert "first difference: slice" in told.err


@pytest.mark.parametrize("columns", [80, 200])
def test_a_tape_is_described_in_readable_columns(cli: Cli, tape: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ended = cli("tape", tape)
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= columns
    assert "2024-01-08T14:28:00Z" in ended.out
    line = next(s for s in ended.out.splitlines() if "SIM000" in s)
    assert "01-08 14:28" in line
    assert "1,652" in line
    assert "1704724" not in ended.out
    assert sum("SIM0" in s for s in ended.out.splitlines()) == 16
    assert len(ended.out.splitlines()) < 70, "a row of a table is one line"


def test_each_job_has_a_run_folder_of_its_own() -> None:
    settings = load_settings(None, (), {})
    jobs = [
        default_folder(Path("tapes/a"), s, model, forget, NO_LOG)
        for s in (settings, load_settings(None, ("slice_ms=10",), {}))
        for model in (None, DEFAULT_MODEL)
        for forget in (False, True)
    ]
    assert len(set(jobs)) == 8
    assert jobs[0] == Path("runs") / f"a-{short_hash(settings)}"
    assert jobs[1].name == f"{jobs[0].name}-forget"


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01", 0),
        ("2013-10-08T09:30:00-04:00", 1_381_239_000_000_000_000),
        ("2013-10-08T13:30:00", 1_381_239_000_000_000_000),
        ("2013-10-08T13:30:00.000001Z", 1_381_239_000_000_001_000),
        ("1381239000000000001", 1_381_239_000_000_000_001),
    ],
)
def test_times_are_read_exactly(text: str, ns: int) -> None:
    assert parsed_time(text, "--from") == ns
    assert parsed_time(iso_time(ns)[:26], "--from") in (ns, ns // 1000 * 1000)


def test_durations_are_read_exactly() -> None:
    assert [parsed_duration(t, "x") for t in ("0s", "1.5s", "0.1ms", "5m", "2h", "1d")] == [
        0,
        1_500_000_000,
        100_000,
        300_000_000_000,
        7_200_000_000_000,
        86_400_000_000_000,
    ]
    for wrong in ("", "5", "m", "-1s", "1x", "nans", "infs", "1e99d"):
        with pytest.raises(UsageError, match="x "):
            parsed_duration(wrong, "x")


def test_evaluate_shows_all_symbols_first_and_by_how_much_the_network_is_better(cli: Cli, tape: Path, tmp_path: Path) -> None:
    assert "nothing is measured" in cli("evaluate", DEFAULT_MODEL, tape, "--no-learners").err
    simulate(tmp_path / "longer", 40_000, 5)
    ended = cli("evaluate", DEFAULT_MODEL, tmp_path / "longer", "--no-learners")
    assert ended.code == 0, ended.err
    titles = [" ".join(line.split()) for line in ended.out.splitlines() if " ms: " in line]
    assert titles[:2] == ["all symbols, 0 ms: accuracy %, 95% interval", "all symbols, 0 ms: network less predictor, points"]
    assert len(titles) > 4
    assert "trees is not measured: left out" in ended.err


def test_a_model_is_refused_behind_other_settings_before_anything_is_made(
    cli: Cli, tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = ("--set", "features.fast_halflife_s=5")
    for command in (("replay", tape), ("evaluate", DEFAULT_MODEL, tape), ("run", "trading"), ("run", "signals")):
        cli(*command, *other).told(1, "default.safetensors", "features.fast_halflife_s 1.0, here 5.0", "spiketape train TAPE")
    assert list(tmp_path.iterdir()) == []


def test_train_and_evaluate_read_their_settings_where_every_command_does(
    cli: Cli, tape: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (("train", tape, "--out", "m"), ("evaluate", DEFAULT_MODEL, tape)):
        cli(*command, "--set", "features.fast_halflife_s=-1").told(2, "features.fast_halflife_s", "given: '-1'")
        with monkeypatch.context() as inner:
            inner.setenv("SPIKETAPE_FEATURES__FAST_HALFLIFE_S", "-2")
            cli(*command).told(2, "features.fast_halflife_s", "given: '-2'")
    Path("spiketape.toml").write_text("[features]\nfast_halflife_s = -3\n")
    cli("train", tape, "--out", "m").told(2, "features.fast_halflife_s", "given: -3")


def test_import_judges_times_by_the_settings(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A jump of 100 s in the middle that nothing confirms: believed by default (300 s), refused with a guard of 50 s."""
    monkeypatch.chdir(tmp_path)
    csv = tmp_path / "trades.csv"
    times = [1_700_000_000_000 + 10 * i for i in range(50)]
    times[25] += 100_000
    csv.write_text("time,px,qty\n" + "".join(f"{t},100,1\n" for t in times))
    command = ("import", csv, "--map", "ts=time,unit=ms,price=px,size=qty,name=X", "--json")
    refused = [
        json.loads(cli(*command, "--out", f"tape-{jump_s}", "--set", f"time_guard.jump_s={jump_s}").out)["refused"] for jump_s in (300, 50)
    ]
    assert refused == [0, 1]
    cli(*command, "--out", "x", "--set", "time_guard.jump_s=0").told(2, "time_guard.jump_s", "given: '0'")


def test_import_takes_corporate_actions_and_tape_lists_them(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    csv, actions = tmp_path / "trades.csv", tmp_path / "actions.csv"
    csv.write_text("time,px,qty\n" + "".join(f"{1_700_000_000_000 + 10 * i},100,1\n" for i in range(50)))
    command = ("import", csv, "--map", "ts=time,unit=ms,price=px,size=qty,name=X", "--actions", actions)
    actions.write_text("symbol,effective,kind,ratio\nX,2023-11-14T22:13:20.1Z,split,1:10\n")
    assert "corporate actions: 1; `spiketape tape taken` lists them" in cli(*command, "--out", "taken").err
    told = json.loads(cli("tape", "taken", "--json").out)["actions"]
    assert [(a["symbol"], a["ts_ns"], a["numerator"], a["denominator"]) for a in told] == [("X", 1_700_000_000_100_000_000, 1, 10)]
    assert "1:10" in cli("tape", "taken").out
    actions.write_text("symbol,effective,kind,ratio\nX,2023-11-14T22:13:20.1Z,split,10\n")
    cli(*command, "--out", "refused").told(2, "actions.csv", "line 2", "ratio", "'10'", "such as 4:1")
    assert not (tmp_path / "refused").exists()

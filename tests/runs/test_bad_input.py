"""Bad input, through the command line: each is a clear error or dead letters with reasons, never a traceback, never a lost row."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.replay import Execution, replay
from operators.sinks import LakeReader, verify
from operators.sources.tape import Tape, TapeWriter
from operators.spiking.modelfile import DEFAULT_MODEL
from schemas.settings import load_settings
from schemas.tables import DeadLetterReason
from schemas.ticks import FLAG_TIME_REFUSED, QUOTE, TICK_V1, Ticks

Cli = Callable[..., Any]
SMALL = 20_000


@pytest.fixture
def copied(tapes: Callable[..., Tape], tmp_path: Path) -> Callable[[], Path]:
    """A copy of a small tape, to be damaged."""

    def copy() -> Path:
        path = tmp_path / "damaged"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(tapes(SMALL).path, path)
        return path

    return copy


def cut(path: Path, left: int) -> None:
    path.write_bytes(path.read_bytes()[:left])


def flip(path: Path, at: int, bit: int = 2) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1 << bit
    path.write_bytes(raw)


@pytest.mark.parametrize("left", [0, 1, 700, 20_000])
@pytest.mark.parametrize("name", ["manifest.json", "part-001.arrow"])
def test_a_truncated_or_empty_tape_file(cli: Cli, copied: Callable[[], Path], tmp_path: Path, name: str, left: int) -> None:
    tape = copied()
    file = tape / name
    left = min(left, file.stat().st_size - 1)
    cut(file, left)
    for command in (("replay", tape, "--out", tmp_path / "run"), ("tape", tape), ("bars", tape)):
        ended = cli(*command)
        ended.told(1, name, "import it again" if left else "damaged")
        assert ended.out == ""
    assert not (tmp_path / "run").exists()


def test_a_missing_tape_file(cli: Cli, copied: Callable[[], Path]) -> None:
    tape = copied()
    (tape / "part-002.arrow").unlink()
    cli("replay", tape).told(1, "part-002.arrow is missing", "import it again")


def test_a_flipped_bit_anywhere_in_the_manifest(cli: Cli, copied: Callable[[], Path]) -> None:
    tape = copied()
    file = tape / "manifest.json"
    whole = file.read_bytes()
    rng = random.Random(4)
    for _ in range(60):
        file.write_bytes(whole)
        flip(file, rng.randrange(len(whole)), rng.randrange(8))
        cli("bars", tape).told(1, "manifest.json")


def test_a_flipped_bit_anywhere_in_the_ticks(
    cli: Cli, copied: Callable[[], Path], tmp_path: Path, run_once: Callable[..., Any], tapes: Callable[..., Tape]
) -> None:
    """Bits between the records (Arrow's own headers) are not used by a replay; `tape` finds them all."""
    tape = copied()
    file = tape / "part-001.arrow"
    whole = file.read_bytes()
    entry = Tape.open(tape).manifest.partitions[1].batches[0]
    in_records = (entry.offset, entry.offset + 7, entry.offset + entry.rows * 72 - 1, entry.offset + entry.rows * 36)
    for at in (*in_records, 10, entry.offset - 3, len(whole) - 30, len(whole) - 1):
        file.write_bytes(whole)
        flip(file, at)
        cli("tape", tape).told(1, "part-001.arrow", "import it again")
        ended = cli("replay", tape, "--out", tmp_path / "run", "--fresh", "--no-report", "--json")
        if ended.code == 0:
            assert at not in in_records
            assert json.loads(ended.out)["output_hash"] == run_once(tapes(SMALL)).run["output_hash"]
        else:
            ended.told(1, "part-001.arrow", "damaged")


def test_a_damaged_model_file(cli: Cli, tapes: Callable[..., Tape], tmp_path: Path) -> None:
    whole = DEFAULT_MODEL.read_bytes()
    model = tmp_path / "model.safetensors"
    rng = random.Random(5)
    for left in (0, 5, 2000, len(whole) - 1):
        model.write_bytes(whole[:left])
        cli("replay", tapes(SMALL).path, "--model", model, "--out", tmp_path / "run").told(1, "model.safetensors", "spiketape train")
    for _ in range(20):
        model.write_bytes(whole)
        flip(model, rng.randrange(len(whole)), rng.randrange(8))
        cli("replay", tapes(SMALL).path, "--model", model, "--out", tmp_path / "run").told(1, "model.safetensors")
    assert not (tmp_path / "run").exists()


def imported(
    cli: Cli, folder: Path, name: str, lines: list[str], columns: str = "ts=t,unit=ms,bid=b,bid_size=bs,ask=a,ask_size=as,name=X"
) -> Any:
    """Writes a CSV, imports it; the import's counts, and the tape."""
    (folder / f"{name}.csv").write_text("t,b,bs,a,as\n" + "\n".join(lines) + "\n")
    ended = cli("import", folder / f"{name}.csv", "--out", folder / name, "--map", columns, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["rows_read"] == len(lines) == told["ticks"] + told["merged"] + told["refused"]
    return told, folder / name


def quotes(n: int = 3000) -> list[str]:
    rng = random.Random(6)
    mid, out = 10_000, []
    for i in range(n):
        mid += rng.choice((-1, 0, 0, 1))
        out.append(f"{1_700_000_000_000 + 40 * i},{mid / 100:.2f},{rng.randrange(1, 9)},{(mid + 2) / 100:.2f},{rng.randrange(1, 9)}")
    return out


def test_bad_rows_of_a_file_are_all_accounted_for(cli: Cli, tmp_path: Path) -> None:
    good = quotes()
    t = good[1500].split(",")[0]
    bad = {
        "nan": f"{t},nan,1,100.00,1",
        "text": f"{t},many,1,100.00,1",
        "infinite": f"{t},inf,1,100.00,1",
        "short": f"{t},99.00",
        "negative": f"{t},-99.00,1,100.00,1",
        "zero size": f"{t},99.98,0,100.00,1",
        "crossed": f"{t},100.00,1,99.00,1",
        "year 2300": "10413792000000,100.00,1,100.02,1",
        "duplicate": good[1500],
    }
    told, tape = imported(cli, tmp_path, "bad", [*good[:1501], *bad.values(), *good[1501:]])
    assert told["refused"] == 5
    refused = [json.loads(line) for line in (tape / "rejected.jsonl").read_text().splitlines()]
    assert sorted(r["line"] for r in refused) == [1503, 1504, 1505, 1506, 1510], "lines of the file, its header is line 1"
    assert all(r["file"].endswith("bad.csv") and r["reason"] for r in refused)
    ended = cli("replay", tape, "--out", tmp_path / "run", "--no-report", "--json")
    assert ended.code == 0, ended.err
    run = json.loads(ended.out)
    assert run["rows_read"] == told["ticks"] == run["ticks"] + sum(run["dead_letters"].values())
    assert run["ticks"] == len(good) + 1, "without numbers of the venue the repeated row cannot be told from one that looks the same"
    assert run["dead_letters"] == {"BOOK_CROSSED": 1, "PRICE_NOT_POSITIVE": 1, "SIZE_NOT_POSITIVE": 1}
    assert verify(tmp_path / "run").ok
    assert cli("verify", tmp_path / "run").code == 0


def test_a_repeated_row_with_its_venues_number_is_refused(cli: Cli, tmp_path: Path) -> None:
    numbered = [f"{row},{i}" for i, row in enumerate(quotes())]
    columns = "ts=#1,unit=ms,bid=#2,bid_size=#3,ask=#4,ask_size=#5,sequence=#6,name=X"
    tapes = []
    for name, lines in (("once", numbered), ("twice", [*numbered[:1501], *numbered[1000:]])):
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        ended = cli("import", tmp_path / f"{name}.csv", "--out", tmp_path / name, "--map", columns, "--json")
        told = json.loads(ended.out)
        assert (told["ticks"], told["refused"]) == (len(numbered), len(lines) - len(numbered)), ended.err
        tapes.append(Tape.open(tmp_path / name).manifest.tape_hash)
    assert tapes[0] == tapes[1]


@pytest.mark.parametrize("at", [0, 1, 1500, 2999, 3000], ids=["first", "second", "middle", "before the last", "last"])
@pytest.mark.parametrize(
    ("time_ms", "reason"), [(4_102_444_800_000, "cannot be true"), (10_413_792_000_000, "too large")], ids=["year 2100", "year 2300"]
)
def test_one_absurd_time_leaves_every_other_row_as_without_it(cli: Cli, tmp_path: Path, at: int, time_ms: int, reason: str) -> None:
    good = quotes()
    _, clean = imported(cli, tmp_path, "clean", good)
    told, tape = imported(cli, tmp_path, "absurd", [*good[:at], f"{time_ms},100.00,1,100.02,1", *good[at:]])
    assert (told["ticks"], told["refused"]) == (3000, 1)
    line = json.loads((tape / "rejected.jsonl").read_text())
    assert line["line"] == at + 2
    assert reason in line["reason"]
    assert Tape.open(tape).manifest.tape_hash == Tape.open(clean).manifest.tape_hash


def test_rows_out_of_order_are_late_not_lost(cli: Cli, tmp_path: Path) -> None:
    good = quotes()
    mixed = [*good[:1000], *good[1100:1200], *good[1000:1100], *good[1200:]]
    told, tape = imported(cli, tmp_path, "mixed", mixed)
    assert (told["ticks"], told["refused"]) == (3000, 0)
    run = json.loads(cli("replay", tape, "--out", tmp_path / "run", "--no-report", "--json").out)
    assert run["rows_read"] == 3000 == run["ticks"] + sum(run["dead_letters"].values())
    assert run["late_ticks"] == 100


class Altered:
    """A tape whose rows are changed on their way out of the file."""

    def __init__(self, tape: Tape, change: Callable[[Ticks, int], None]) -> None:
        self._tape = tape
        self._change = change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tape, name)

    def read(self, partition: int, start: int, count: int) -> Ticks:
        ticks = self._tape.read(partition, start, count).copy()
        self._change(ticks, start)
        ticks.flags.writeable = False
        return ticks


@pytest.mark.parametrize("shards", [64, 3])
def test_unknown_symbols_become_dead_letters_of_one_key(shards: int, tapes: Callable[..., Tape], tmp_path: Path) -> None:
    """Ids that the tape's list does not have, in all partitions, told by one shard: their n runs without gap or double."""

    def change(ticks: Ticks, start: int) -> None:
        row = np.arange(start, start + ticks.size)
        ticks["symbol"][row % 200 == 17] = 999
        ticks["symbol"][row % 200 == 117] = 2**32 - 1

    tape = Altered(tapes(SMALL), change)
    wanted = sum(int((np.arange(tape.rows(p)) % 100 == 17).sum()) for p in range(tape.partitions))
    hashes = set()
    for workers, batch_ticks in ((1, 131_072), (2, 1500)):
        out = tmp_path / f"run{workers}"
        settings = load_settings(None, (f"shards={shards}",), {})
        run = replay(tape, settings, None, out, Execution(workers=workers, batch_ticks=batch_ticks)).run  # type: ignore[arg-type]
        assert run is not None
        assert run["dead_letters"]["UNKNOWN_SYMBOL"] == wanted > 150
        assert run["rows_read"] == SMALL == run["ticks"] + sum(run["dead_letters"].values())
        (unknown,) = (k.rows for k in LakeReader(out / "lake").table("dead_letters").keys if k.key == "unknown")
        assert unknown["n"].tolist() == list(range(wanted))
        assert verify(out).ok
        hashes.add(run["output_hash"])
    assert len(hashes) == 1


def test_corrupted_fields_of_a_tape_become_dead_letters_with_their_reasons(cli: Cli, tapes: Callable[..., Tape], tmp_path: Path) -> None:
    source = tapes(SMALL, partitions=1)
    ticks = np.concatenate([source.read(0, s, 65_536) for s in range(0, SMALL, 65_536)])
    quote = np.flatnonzero(ticks["kind"] == QUOTE)[500:][::700]
    changes: list[tuple[DeadLetterReason, str, int]] = [
        (DeadLetterReason.UNKNOWN_KIND, "kind", 77),
        (DeadLetterReason.UNKNOWN_KIND, "kind", 0),
        (DeadLetterReason.SIDE_INVALID, "side", -5),
        (DeadLetterReason.PRICE_NOT_POSITIVE, "price", 0),
        (DeadLetterReason.PRICE_NOT_POSITIVE, "ask", -(2**63)),
        (DeadLetterReason.SIZE_NOT_POSITIVE, "size", -1),
        (DeadLetterReason.PRICE_TOO_LARGE, "ask", 2**63 - 1),
        (DeadLetterReason.SIZE_TOO_LARGE, "ask_size", 2**63 - 1),
        (DeadLetterReason.TIME_JUMP, "flags", FLAG_TIME_REFUSED),
        (DeadLetterReason.BOOK_CROSSED, "ask", 1),
    ]
    for at, (_, name, value) in zip(quote, changes, strict=False):
        ticks[name][at] = value
    with TapeWriter(tmp_path / "corrupt", source.instruments) as writer:
        writer.append(ticks)
    run = json.loads(cli("replay", tmp_path / "corrupt", "--out", tmp_path / "run", "--no-report", "--json").out)
    wanted: dict[str, int] = {}
    for reason, *_ in changes:
        wanted[reason.name] = wanted.get(reason.name, 0) + 1
    assert run["dead_letters"] == wanted
    assert run["rows_read"] == SMALL == run["ticks"] + len(changes)
    answer = cli("query", tmp_path / "run", "SELECT symbol, sequence, reason FROM dead_letters", "--json")
    assert len(json.loads(answer.out)["rows"]) == len(changes)
    assert verify(tmp_path / "run").ok


def test_a_tape_with_symbols_that_are_not_in_its_list_is_refused(cli: Cli, copied: Callable[[], Path], tmp_path: Path) -> None:
    """With all checksums made to fit: only another program could have written this."""
    import xxhash

    from operators.sources.tape.format import manifest_json

    tape = copied()
    manifest = Tape.open(tape).manifest
    entry = manifest.partitions[0]
    file = tape / entry.file
    raw = bytearray(file.read_bytes())
    batch = entry.batches[0]
    ticks = np.frombuffer(raw, TICK_V1, batch.rows, batch.offset)
    ticks["symbol"][5] = 999
    file.write_bytes(raw)
    batches = (batch.model_copy(update={"xxh3_128": xxhash.xxh3_128_hexdigest(ticks.tobytes())}), *entry.batches[1:])
    parts = (entry.model_copy(update={"batches": batches, "xxh3_128": xxhash.xxh3_128_hexdigest(bytes(raw))}), *manifest.partitions[1:])
    (tape / "manifest.json").write_bytes(manifest_json(manifest.model_copy(update={"partitions": parts})))
    cli("replay", tape, "--out", tmp_path / "run").told(1, entry.file, "symbols", "import the tape again")


def test_nothing_of_this_is_an_execution_option() -> None:
    """How a run is executed is checked where it is stated, also without the command line."""
    from schemas.errors import UsageError

    for wrong in ({"workers": 0}, {"workers": 10**6}, {"batch_ticks": 0}, {"epoch_s": float("nan")}, {"speed": float("nan")}):
        with pytest.raises(UsageError, match=f"--{next(iter(wrong)).replace('_', '-')}"):
            dataclasses.replace(Execution(), **wrong)  # type: ignore[arg-type]

"""Damage to a tape is found and named, and a manifest that lies is refused."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

from operators.sources.tape import Tape, describe
from operators.sources.tape.format import MANIFEST, parse_manifest
from schemas.errors import TapeError
from schemas.ticks import Ticks
from tests.operators.sources.tapes import ticks_of, write


@pytest.fixture(scope="module")
def ticks() -> Ticks:
    return ticks_of(150_000)


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory, ticks: Ticks) -> Tape:
    return write(tmp_path_factory.mktemp("tape") / "t", ticks, (1, 7, 70_000), partitions=2)


class TestDamage:
    """Each kind of damage is a TapeError that names the file."""

    @pytest.fixture
    def damaged(self, tmp_path: Path) -> Path:
        write(tmp_path / "t", ticks_of(150_000), partitions=2)
        return tmp_path / "t"

    def flip(self, path: Path, at: int) -> None:
        data = bytearray(path.read_bytes())
        data[at] ^= 4
        path.write_bytes(data)

    def test_a_flipped_bit_in_a_record_names_file_and_batch(self, damaged: Path) -> None:
        p = max(range(2), key=Tape.open(damaged).rows)
        batch = Tape.open(damaged).manifest.partitions[p].batches[1]
        self.flip(damaged / f"part-00{p}.arrow", batch.offset + 72 * 100 + 30)
        tape = Tape.open(damaged)
        assert len(tape.read(p, 0, 65_536)) == 65_536
        for use in (lambda: tape.read(p, 65_536, 1), lambda: tape.seek(p, batch.first_ts_ns + 1), tape.verify):
            with pytest.raises(TapeError, match=rf"part-00{p}.arrow.*(batch 1|hash)"):
                use()
        assert describe(tape).damage is not None

    def test_a_flipped_bit_anywhere_is_found_by_verify(self, damaged: Path) -> None:
        path = damaged / "part-001.arrow"
        whole = path.read_bytes()
        rng = random.Random(1)
        for at in [0, 5, 8, 500, 900, len(whole) - 1, len(whole) - 300, *(rng.randrange(len(whole)) for _ in range(10))]:
            self.flip(path, at)
            with pytest.raises(TapeError, match=r"part-001\.arrow"):
                Tape.open(damaged).verify()
            path.write_bytes(whole)
        Tape.open(damaged).verify()

    @pytest.mark.parametrize("size", [0, 1, 7, 1000, -1, -72])
    def test_a_truncated_partition(self, damaged: Path, size: int) -> None:
        path = damaged / "part-001.arrow"
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(TapeError, match=r"part-001\.arrow has \d+ bytes"):
            Tape.open(damaged)

    def test_a_missing_partition(self, damaged: Path) -> None:
        (damaged / "part-001.arrow").unlink()
        with pytest.raises(TapeError, match=r"part-001\.arrow is missing"):
            Tape.open(damaged)

    def test_a_folder_in_place_of_a_partition(self, damaged: Path) -> None:
        (damaged / "part-001.arrow").unlink()
        (damaged / "part-001.arrow").mkdir()
        with pytest.raises(TapeError, match=r"part-001\.arrow"):
            Tape.open(damaged)

    def test_a_missing_empty_or_truncated_manifest(self, damaged: Path) -> None:
        path = damaged / MANIFEST
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(TapeError, match="no finished tape"):
            Tape.open(damaged)
        for size, match in ((0, "is empty"), (len(whole) // 2, "not valid JSON")):
            path.write_bytes(whole[:size])
            with pytest.raises(TapeError, match=match):
                Tape.open(damaged)

    def test_a_file_that_is_no_tape(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("hello")
        with pytest.raises(TapeError, match="there is no tape"):
            Tape.open(tmp_path / "x")

    @pytest.mark.parametrize(
        ("key", "value", "match"),
        [
            ("version", 2, "format version 2"),
            ("tick_version", 9, "tick version 9"),
            ("format", "other", "not a manifest of a tape"),
            ("rows", 3, "does not fit its own checksum"),
            ("tape_hash", "0" * 64, "does not fit its own checksum"),
        ],
    )
    def test_a_changed_manifest(self, damaged: Path, key: str, value: object, match: str) -> None:
        tree = json.loads((damaged / MANIFEST).read_bytes())
        (damaged / MANIFEST).write_text(json.dumps(tree | {key: value}))
        with pytest.raises(TapeError, match=match):
            Tape.open(damaged)


def test_five_thousand_mutated_manifests_raise_nothing_but_tape_error(tape: Tape, tmp_path: Path) -> None:
    data = (tape.path / MANIFEST).read_bytes()
    rng = random.Random(5)
    for i in range(5000):
        broken = bytearray(data)
        if i % 4 == 0:
            broken = broken[: rng.randrange(len(broken))]
        elif i % 4 == 1:
            at = rng.randrange(len(broken))
            broken[at : at + rng.randrange(40)] = rng.randbytes(rng.randrange(40))
        else:
            for _ in range(rng.randrange(1, 5)):
                broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            parsed = parse_manifest(bytes(broken), "m")
        except TapeError:
            continue
        assert parsed == tape.manifest, "only white space may have changed"


def leaves(tree: object, path: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    if isinstance(tree, dict | list) and tree:
        pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return [leaf for key, value in pairs for leaf in leaves(value, (*path, key))]
    return [path]


def test_manifests_that_lie_but_carry_a_fitting_checksum(tape: Tape, tmp_path: Path) -> None:
    """Wrong numbers with a right checksum: opening, reading and verifying end well or with a TapeError, never in a crash."""
    from operators.sources.tape.format import _checksum

    for part in tape.path.glob("part-*"):
        os.link(part, tmp_path / part.name)
    data = (tape.path / MANIFEST).read_bytes()
    paths = leaves(json.loads(data))
    rng = random.Random(6)
    values = [0, -1, 1, 2**31, 2**63, 2**70, 7, 65_537, None, "", "x", "../../etc/passwd", 1.5, True, [], {}]
    found = 0
    for _ in range(600):
        tree = json.loads(data)
        tree.pop("checksum")
        path = rng.choice(paths)
        if path == ("checksum",):
            continue
        node = tree
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = (
            rng.choice(values) if rng.random() < 0.7 or not isinstance(node[path[-1]], int) else node[path[-1]] + rng.choice([-8, 8, 72])
        )
        (tmp_path / MANIFEST).write_text(json.dumps({"checksum": _checksum(tree), **tree}))
        try:
            lying = Tape.open(tmp_path)
            for p in range(lying.partitions):
                lying.read(p, lying.rows(p) // 2, 10)
                lying.seek(p, 10**9)
        except TapeError:
            found += 1
    assert found > 250

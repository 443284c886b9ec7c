"""Compiled kernels are kept by what they are made of, callees in other files included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from schemas.compiled import KEPT, kernel_sources

ROOT = Path(__file__).parents[2]


def cache_folder(root: Path, cache: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | {"SPIKETAPE_CACHE": str(cache), "PYTHONPATH": str(root)}
    code = "import operators, os; print(os.environ['NUMBA_CACHE_DIR'])"
    return subprocess.run([sys.executable, "-c", code], env=env, cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def test_a_constant_that_kernels_import_counts_as_their_source() -> None:
    names = {p.relative_to(ROOT).as_posix() for p in kernel_sources()}
    assert {"schemas/exact.py", "schemas/ticks.py", "operators/quality/kernels.py", "operators/spiking/model.py"} <= names
    assert "flows/replay.py" not in names


def test_a_changed_callee_moves_the_cache_and_old_ones_go(tmp_path: Path) -> None:
    root, cache = tmp_path / "copy", tmp_path / "cache"
    for package in ("schemas", "operators"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    first = cache_folder(root, cache)
    assert cache_folder(root, cache) == first
    (root / "operators" / "book" / "book.py").open("a").write("\n# nothing compiled\n")
    assert cache_folder(root, cache) == first
    for i in range(KEPT + 2):
        (root / "schemas" / "exact.py").open("a").write(f"\n# change {i}\n")
        changed = cache_folder(root, cache)
        assert changed != first
    assert len(list((cache / "numba").iterdir())) == KEPT + 1
    assert Path(changed).is_dir()


def test_a_folder_that_is_set_is_left_alone(tmp_path: Path) -> None:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    code = "import operators, os; print(os.environ['NUMBA_CACHE_DIR'])"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path)

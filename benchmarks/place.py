"""Where the benchmarks work: their folder of results, tapes, and fresh processes to measure in."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from flows.inputs import default_tape
from infra.place import cache_dir
from operators.sources import importers
from operators.sources.importers import import_sources
from operators.sources.tape import Tape
from schemas.errors import TapeError, UsageError
from schemas.settings import Settings

OUT = Path(__file__).resolve().parent / "out"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
R = TypeVar("R")


def plain_settings() -> Settings:
    """The default settings: neither a file nor the environment changes what is measured."""
    return Settings.model_validate({})


def recorded_equity(say: Callable[[str], None]) -> Path:
    """The tape of all recorded equity ticks (LEAN, four symbols), imported once into the cache.

    Raises UsageError where the recorded markets are missing: they are in `SPIKETAPE_TEST_DATA`, default `../shared/data`.
    """
    data = Path(os.environ.get("SPIKETAPE_TEST_DATA", DEFAULT_DATA)) / "lean_equity_ticks"
    if not data.is_dir():
        msg = f"recorded equity ticks are not at {data}; set SPIKETAPE_TEST_DATA to the folder that holds lean_equity_ticks"
        raise UsageError(msg)
    path = cache_dir() / "tapes" / f"recorded-equity-{_importer_digest()}"
    try:
        Tape.open(path)
    except TapeError:
        say(f"importing {data} once into {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        import_sources([data], path, overwrite=True)
    return path


def _importer_digest() -> str:
    """Changes with the importers' code, so that a tape of an older importer is not measured."""
    digest = hashlib.sha256()
    for file in sorted(Path(importers.__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def simulated(ticks: int, say: Callable[[str], None]) -> Path:
    """The simulated tape of 16 symbols, made once and kept in the cache."""
    say(f"simulated tape of {ticks:,} ticks")
    return default_tape(lambda _done: None, ticks)


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """A folder for runs and the like beside the results, empty at the start, gone afterwards."""
    path = OUT / "work" / f"{name}-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def in_fresh_process(work: Callable[..., R], *args: Any) -> R:
    """What `work(*args)` returns, called in a process of its own. `work` is a function of a module."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()

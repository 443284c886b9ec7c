"""A small simulated tape in memory, prepared once, and a model trained on it once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from operators.sources.simulator import generate, simulated_instruments
from operators.spiking.training import evaluate, prepare_ticks, trained
from schemas.instruments import InstrumentList

TICKS = 300_000


@dataclass
class MemoryTape:
    """A tape of one partition in memory."""

    ticks: np.ndarray
    instruments: InstrumentList
    partitions: int = 1

    def rows(self, partition: int) -> int:
        return self.ticks.size

    def read(self, partition: int, start: int, count: int) -> np.ndarray:
        return self.ticks[start : start + count]


def made(seed: int, ticks: int = TICKS, edge: float = 1.0) -> MemoryTape:
    return MemoryTape(np.concatenate([r for r, _ in generate(ticks, seed, edge=edge)]), simulated_instruments(ticks, 16))


@pytest.fixture(scope="session")
def tape() -> MemoryTape:
    return made(3)


@pytest.fixture(scope="session")
def data(tape):
    return prepare_ticks(tape.ticks, tape.instruments)


@pytest.fixture(scope="session")
def held_back():
    return made(4)


@pytest.fixture(scope="session")
def report(model, held_back):
    """The model on the tape that was held back, beside all that does not learn."""
    return evaluate(model, held_back, learners=False)


@pytest.fixture(scope="session")
def model(data):
    network, manifest = trained(data, int(data.ticks["ts_ns"][TICKS * 7 // 10]), 1)
    from dataclasses import replace

    return replace(network, manifest=manifest)

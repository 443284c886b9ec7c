"""Freed memory is kept: a batch's arrays do not fault in page by page again. Old objects are not looked through again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAULTS = """
import resource, sys
import numpy as np
from flows.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1); sys.exit()
def batch():
    for n in (8_000_000, 3_000_000):
        np.empty(n, np.uint8).fill(1)
batch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    batch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_batches_after_the_first_fault_hardly_at_all() -> None:
    kept = faults("keep")
    if kept < 0:
        pytest.skip("this C library has no mallopt: memory is given back as it always was")
    assert kept < 20
    assert faults("as it is") > 60


OLD = """
import gc, weakref
from flows.memory import keep_old_objects
class Knot:
    def __init__(self):
        self.self = self
def looked_through():
    return len(gc.get_objects())
there = [Knot() for _ in range(1000)]
keep_old_objects(2)
print(looked_through() < 1000)
loaded = []
for _ in range(4):
    loaded.append([Knot() for _ in range(1000)])
    gc.collect()
print(2000 <= looked_through() < 3000)
knot = Knot()
gone = weakref.ref(knot)
del knot
gc.collect()
print(gone() is None)
"""


def test_what_survives_the_first_full_collections_is_spared_later_ones_and_new_cycles_are_collected() -> None:
    done = subprocess.run([sys.executable, "-c", OLD], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True"] * 3

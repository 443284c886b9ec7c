"""Freed memory is kept: a batch's arrays do not fault in page by page again."""

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

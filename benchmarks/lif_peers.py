"""Peers of the LIF step: the same equations in C, compiled for this CPU, or in NumPy where there is no C compiler."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.place import OUT

SOURCE = Path(__file__).with_name("lif_peer.c")
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-shared", "-fPIC")
Steps = Callable[..., int]
"""(v, pending, refractory, spikes, size, decay, drive, threshold, reset, refractory steps, steps) -> spikes in all."""


def c_steps() -> tuple[str, Steps] | None:
    """The compiled C loop and what it is called; None without a C compiler or where that cannot compile it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(FLAGS).encode()).hexdigest()[:12]
    library = OUT / "build" / f"lif-{digest}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(".part")
        made = subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(part)], capture_output=True, check=False)
        if made.returncode:
            return None
        part.replace(library)
    function = ctypes.CDLL(str(library)).lif_steps
    pointers, floats = [ctypes.c_void_p] * 4, [ctypes.c_float] * 4
    function.argtypes = [*pointers, ctypes.c_int64, *floats, ctypes.c_int8, ctypes.c_int64]
    function.restype = ctypes.c_int64

    def steps(v: Any, pending: Any, refractory: Any, spikes: Any, size: int, *rest: Any) -> int:
        arrays = (a.ctypes.data for a in (v, pending, refractory, spikes))
        *constants, often = rest
        return int(function(*arrays, size, *(c.item() for c in constants), int(often)))

    return f"C, {Path(compiler).name} {' '.join(FLAGS[:2])}", steps


def numpy_steps(v: Any, pending: Any, refractory: Any, spikes: Any, size: int, *rest: Any) -> int:
    """The same in NumPy, an expression at a time."""
    decay, drive, threshold, reset, held_steps, often = rest
    total = 0
    for _ in range(int(often)):
        potential = v * decay + drive + pending
        held = refractory > 1
        spike = (potential >= threshold) & ~held
        v[:] = np.where(held | spike, reset, potential)
        refractory[:] = np.where(spike, held_steps, np.maximum(refractory - 1, 0))
        pending[:] = 0
        found = np.flatnonzero(spike[:size])
        spikes[: found.size] = found
        total += found.size
    return total

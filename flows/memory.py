"""How the process keeps memory: what a batch frees, the next batch uses again; what is there to stay is not looked through again."""

from __future__ import annotations

import ctypes
import gc

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 30
_OLDEST = 2


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed blocks below 1 GiB; returns whether it could be told (glibc can).

    A batch's arrays have some megabytes each. By default glibc maps such a block anew each time and the system fills it with zeros
    page by page: 5 to 10% of a replay's time. The process keeps its peak, which the open batches bound, until it ends.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGE))


def keep_old_objects(times: int = 3) -> None:
    """Spares the garbage collector what there is now, and what survives the next `times` full collections: modules, kernels, the flow.

    A live flow makes few cycles, but its full collections look at everything that was ever loaded, 170,000 objects and more: each
    stops the worker for 50 to 100 ms. Kernels are loaded with the first ticks, so what is there to stay is known only some
    collections later. From then on cycles are collected as ever.
    """
    left = times

    def spare(phase: str, about: dict[str, int]) -> None:
        nonlocal left
        if phase == "stop" and about["generation"] == _OLDEST:
            gc.freeze()
            left -= 1
            if left == 0:
                gc.callbacks.remove(spare)

    gc.collect()
    gc.freeze()
    gc.callbacks.append(spare)

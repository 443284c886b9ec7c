"""How the process keeps memory: what a batch frees, the next batch uses again."""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 30


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

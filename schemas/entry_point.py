"""A compiled function without Numba's dispatcher, for functions that are called tens of thousands of times for a few microseconds' work.

The dispatcher looks at the type of each argument of each call, about 100 ns for an array of records. Where a caller's arguments are
always of the same types that finds nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def entry_point(kernel: Any) -> Callable[..., Any]:
    """What the dispatcher calls once `kernel` was compiled for one set of types; before that, or with several, the dispatcher itself.

    To be asked for once for many calls, all with arguments of the types that it was compiled for: these are not looked at any more, and
    arrays of other records would be read as if they were those.
    """
    signatures: list[Any] = getattr(kernel, "signatures", [])
    called: Callable[..., Any] = kernel.get_overload(signatures[0]) if len(signatures) == 1 else kernel
    return called

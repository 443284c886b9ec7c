"""A compiled function without Numba's dispatcher, for functions that are called tens of thousands of times for a few microseconds' work.

The dispatcher looks at the type of each argument of each call, about 100 ns for an array of records. Where a caller's arguments are
always of the same types that finds nothing new.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types


def entry_point(kernel: Any) -> Callable[..., Any]:
    """What the dispatcher calls once `kernel` was compiled for one set of types; before that, or with several, the dispatcher itself.

    Where another kernel calls it with a constant, Numba may compile it for that value alone: then the dispatcher too.

    To be asked for once for many calls, all with arguments of the types that it was compiled for: these are not looked at any more, and
    arrays of other records would be read as if they were those.
    """
    signatures: list[Any] = getattr(kernel, "signatures", [])
    plain = len(signatures) == 1 and not any(isinstance(t, types.Literal | types.Omitted) for t in signatures[0])
    called: Callable[..., Any] = kernel.get_overload(signatures[0]) if plain else kernel
    return called

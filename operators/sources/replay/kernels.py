"""Compiled passes over the ticks that were just read: slices, and the split into shards."""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True)
def slices_of(ts_ns, refused, slice_ns, running, out):  # type: ignore[no-untyped-def]
    """`out[i]` = the slice of tick i: the running maximum of ts_ns // slice_ns over the partition. Returns the new maximum.

    ts_ns int64 (n,), refused uint8 (n,): ticks whose time cannot be true do not move the maximum. `running`: before the first.
    The division is done only where the running slice's end is passed.
    """
    end = (running + 1) * slice_ns
    for i in range(ts_ns.size):
        t = ts_ns[i]
        if t >= end and refused[i] == 0:
            running = t // slice_ns
            end = (running + 1) * slice_ns
        out[i] = running
    return running


@njit(nogil=True, cache=True)
def count_by_shard(symbol, shard_index, counts):  # type: ignore[no-untyped-def]
    """Adds to `counts[shard_index[symbol]]`. A symbol beyond the list counts as index 0; index -1 is left out."""
    for i in range(symbol.size):
        s = symbol[i]
        j = shard_index[s] if s < shard_index.size else 0
        if j >= 0:
            counts[j] += 1


@njit(nogil=True, cache=True)
def split_by_shard(words, symbol, slices, shard_index, place, out_words, out_slices):  # type: ignore[no-untyped-def]
    """Copies records (as rows of nine int64 words) and their slices to their shard's stretch, keeping the order.

    `place` int64 (shards,): where each shard's stretch begins; advanced to its end.
    """
    for i in range(symbol.size):
        s = symbol[i]
        j = shard_index[s] if s < shard_index.size else 0
        if j >= 0:
            p = place[j]
            for w in range(9):
                out_words[p, w] = words[i, w]
            out_slices[p] = slices[i]
            place[j] = p + 1

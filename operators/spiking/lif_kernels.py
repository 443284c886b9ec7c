"""Compiled LIF population step (operators/spiking/lif.py has the equations): 64 neurons at once, as LLVM vectors of any instruction set.

A flat loop with a scan for spikes after it, left to the compiler, takes up to twice the time: it checks whether arrays overlap, makes
vectors of half the registers' width and reads the counters again. Here the spikes of a block are a word of bits as soon as they are
known, and input is cleared only in blocks that had some: without any, 14 bytes a neuron move instead of 18.
"""

# ruff: noqa: ARG001
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

from typing import Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from operators.spiking.vector_kernels import first_bit, lanes_at, spread

BLOCK: Final = 64
"""Neurons of one call of `_step_block`."""
_HALF: Final = BLOCK // 2
"""Lanes of one vector: what 32 compares of floats tell goes into bytes in the fewest moves, with AVX-512, AVX2 and SSE2 alike."""
_F32 = ir.VectorType(ir.FloatType(), _HALF)
_I32 = ir.VectorType(ir.IntType(32), _HALF)
_I8 = ir.VectorType(ir.IntType(8), _HALF)


def _all(lanes, value):
    """The same number in all lanes."""
    return ir.Constant(lanes, [value] * lanes.count)


@intrinsic
def _step_block(typingctx, v, pending, refractory, at, decay, drive, threshold, reset, steps):
    """One step of neurons at..at+BLOCK; returns a uint64: bit k is set where neuron at + k fired. No bounds check."""
    real = types.float32
    signature = types.uint64(v, pending, refractory, types.intp, real, real, real, real, types.int8)

    def codegen(context, builder, sig, args):
        leak, constant, limit, floor = (spread(builder, x, _HALF) for x in args[4:8])
        first = spread(builder, args[8], _HALF)
        inputs, counters = [], []
        for half in range(2):
            place = builder.add(args[3], ir.Constant(ir.IntType(64), half * _HALF))
            membrane, source, counter = (lanes_at(context, builder, sig.args[k], args[k], place, _HALF) for k in range(3))
            given = builder.load(source, align=4)
            left = builder.load(counter, align=1)
            potential = builder.fadd(builder.fadd(builder.fmul(builder.load(membrane, align=4), leak), constant), given)
            held = builder.icmp_signed(">", left, _all(_I8, 1))
            spike = builder.and_(builder.fcmp_ordered(">=", potential, limit), builder.not_(held))
            builder.store(builder.select(builder.or_(held, spike), floor, potential), membrane, align=4)
            less = builder.select(builder.icmp_signed(">", left, _all(_I8, 0)), builder.sub(left, _all(_I8, 1)), _all(_I8, 0))
            count = builder.select(spike, first, less)
            builder.store(count, counter, align=1)
            inputs.append((source, builder.bitcast(given, _I32)))
            counters.append(count)
        some = builder.icmp_unsigned("!=", builder.or_(inputs[0][1], inputs[1][1]), _all(_I32, 0))
        with builder.if_then(builder.icmp_unsigned("!=", builder.bitcast(some, ir.IntType(_HALF)), ir.Constant(ir.IntType(_HALF), 0))):
            for source, _ in inputs:
                builder.store(_all(_F32, 0.0), source, align=4)
        order = ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), list(range(BLOCK)))
        fired = builder.icmp_signed("==", builder.shuffle_vector(*counters, order), spread(builder, args[8], BLOCK))
        return builder.bitcast(fired, ir.IntType(BLOCK))

    return signature, codegen


@njit(nogil=True, cache=True)
def step_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, steps):
    """One step of all neurons; `steps` is refractory steps + 1. Returns how many fired; their places are in `spikes`.

    Arrays of one length, a multiple of BLOCK, of which the last places, from `size` on, never fire.
    """
    count = 0
    for block in range(v.size // BLOCK):
        word = _step_block(v, pending, refractory, block * BLOCK, decay, drive, threshold, reset, steps)
        left = size - block * BLOCK
        if left < BLOCK:
            word &= (np.uint64(1) << np.uint64(left)) - np.uint64(1)
        while word != 0:
            spikes[count] = block * BLOCK + first_bit(word)
            count += 1
            word &= word - np.uint64(1)
    for i in range(size, v.size):
        v[i] = reset
        refractory[i] = 0
    return count


@njit(nogil=True, cache=True)
def run_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, steps, counts):
    """As many steps as `counts` (int64) has places, each place the number of neurons that fired; returns their sum."""
    total = 0
    for k in range(counts.size):
        counts[k] = step_delta(v, pending, refractory, spikes, size, decay, drive, threshold, reset, steps)
        total += counts[k]
    return total

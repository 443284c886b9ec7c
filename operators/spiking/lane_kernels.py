"""The network's float arithmetic as LLVM vectors: membranes, decay factors and read-outs of one tick, each lane as written in order.

Only element-wise IEEE operations without contraction, and sums in a fixed order, so every instruction set gives the same bits; what an
instruction set cannot do at once LLVM splits. Plain compiled loops do not reach it: they check whether arrays overlap, and views of
rows cost reference counts. Array lengths are the caller's promise.
"""

# ruff: noqa: ARG001
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from operators.spiking.model import CALM_TICKS, HEAD_WIDTH, HEADS
from operators.spiking.vector_kernels import lanes_at, spread

LANES = 32
"""Neurons of one call of `step_membranes`: those of one time constant are a multiple of it."""
_F32 = ir.FloatType()
_F64 = ir.DoubleType()
_I64 = ir.IntType(64)
_LOG2E = 1.4426950408889634
_LN2_HI = 6.93147180369123816490e-01
_LN2_LO = 1.90821492927058770002e-10
_DEGREE = 13
_SMALLEST = -708.0
_BIAS = 1023
_MANTISSA_BITS = 52


def _traces(value):
    """The same number in all lanes of a head's traces."""
    return ir.Constant(ir.VectorType(_F64, HEAD_WIDTH), [value] * HEAD_WIDTH)


def _leaky(builder, groups):
    """Which lanes are leaky traces: 1..groups."""
    lane = ir.Constant(ir.VectorType(_I64, HEAD_WIDTH), [(k - 1) % 2**64 for k in range(HEAD_WIDTH)])
    return builder.icmp_unsigned("<", lane, spread(builder, groups, HEAD_WIDTH))


@intrinsic
def decay_factors(typingctx, inv_tau, groups, h, factor, at):
    """factor[at + 1 + g] = exp64(-h * inv_tau[g]) for g < groups, to the bit; 0 in all other lanes, and everywhere for h < 0.

    inv_tau float64 (groups,), factor float64 of which HEAD_WIDTH are set from place `at` on.
    """
    signature = types.void(inv_tau, types.int64, types.int64, factor, types.int64)

    def codegen(context, builder, sig, args):
        lanes = ir.VectorType(_F64, HEAD_WIDTH)
        leaky = _leaky(builder, args[1])
        place = lanes_at(context, builder, sig.args[0], args[0], ir.Constant(_I64, -1), HEAD_WIDTH)
        name = f"llvm.masked.load.v{HEAD_WIDTH}f64.p0"
        masks = ir.VectorType(ir.IntType(1), HEAD_WIDTH)
        load = cgutils.get_or_insert_function(builder.module, ir.FunctionType(lanes, [place.type, ir.IntType(32), masks, lanes]), name)
        rate = builder.call(load, [place, ir.Constant(ir.IntType(32), 8), leaky, _traces(0.0)])
        x = builder.fmul(spread(builder, builder.sitofp(builder.neg(args[2]), _F64), HEAD_WIDTH), rate)
        floor = cgutils.get_or_insert_function(builder.module, ir.FunctionType(lanes, [lanes]), f"llvm.floor.v{HEAD_WIDTH}f64")
        n = builder.call(floor, [builder.fadd(builder.fmul(x, _traces(_LOG2E)), _traces(0.5))])
        r = builder.fsub(builder.fsub(x, builder.fmul(n, _traces(_LN2_HI))), builder.fmul(n, _traces(_LN2_LO)))
        p = builder.fadd(_traces(1.0), builder.fmul(r, _traces(1.0 / _DEGREE)))
        for k in range(_DEGREE - 1, 1, -1):
            p = builder.fadd(_traces(1.0), builder.fmul(builder.fmul(r, p), _traces(1.0 / k)))
        p = builder.fadd(_traces(1.0), builder.fmul(r, p))
        whole = builder.sext(builder.fptosi(n, ir.VectorType(ir.IntType(32), HEAD_WIDTH)), ir.VectorType(_I64, HEAD_WIDTH))
        integers = ir.VectorType(_I64, HEAD_WIDTH)
        power = builder.shl(
            builder.add(whole, ir.Constant(integers, [_BIAS] * HEAD_WIDTH)), ir.Constant(integers, [_MANTISSA_BITS] * HEAD_WIDTH)
        )
        result = builder.fmul(p, builder.bitcast(power, lanes))
        known = builder.icmp_signed(">=", args[2], ir.Constant(_I64, 0))
        counts = builder.and_(leaky, spread(builder, known, HEAD_WIDTH))
        counts = builder.and_(counts, builder.fcmp_unordered(">=", x, _traces(_SMALLEST)))
        target = lanes_at(context, builder, sig.args[3], args[3], args[4], HEAD_WIDTH)
        builder.store(builder.select(counts, result, _traces(0.0)), target, align=8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def step_membranes(typingctx, v, at, drive, theta, fired, first, factor):
    """Neurons first..first+LANES, their potentials at v.flat[at:]: v <- max(v * factor + drive, -theta); where v >= theta: v <- 0.

    v float32 (S, H), drive int16 (H,), theta float32 (H,), factor float64 (rounded to float32). Sets fired uint8 (H,) to 0 or 1 and
    returns a uint32: bit k is set where neuron first + k fired.
    """
    signature = types.uint32(v, types.int64, drive, theta, fired, types.int64, types.float64)

    def codegen(context, builder, sig, args):
        floats = ir.VectorType(_F32, LANES)
        place = lanes_at(context, builder, sig.args[0], args[0], args[1], LANES)
        leak = spread(builder, builder.fptrunc(args[6], _F32), LANES)
        driven = builder.load(lanes_at(context, builder, sig.args[2], args[2], args[5], LANES), align=2)
        limit = builder.load(lanes_at(context, builder, sig.args[3], args[3], args[5], LANES), align=4)
        lowest = builder.fneg(limit)
        potential = builder.fadd(builder.fmul(builder.load(place, align=4), leak), builder.sitofp(driven, floats))
        potential = builder.select(builder.fcmp_ordered(">", lowest, potential), lowest, potential)
        spike = builder.fcmp_ordered(">=", potential, limit)
        builder.store(builder.select(spike, ir.Constant(floats, [0.0] * LANES), potential), place, align=4)
        flags = lanes_at(context, builder, sig.args[4], args[4], args[5], LANES)
        builder.store(builder.zext(spike, ir.VectorType(ir.IntType(8), LANES)), flags, align=1)
        return builder.bitcast(spike, ir.IntType(LANES))

    return signature, codegen


@intrinsic
def read_out(typingctx, factor, at, groups, total, n, r, score, s, scale):
    """Counts, accumulators and scores of symbol s: n <- n * factor + 1, r <- r * factor + total,
    score = scale * the sum of r / (n + c) over the traces 0..groups in this order (r times 1 / (n + c), in fact), c = CALM_TICKS, but 0
    for trace 0.

    factor float64, those of this tick from place `at` on, total int32 (HEADS * HEAD_WIDTH,), n float64 (S, HEAD_WIDTH),
    r float64 (S, HEADS * HEAD_WIDTH), score float32 (S, HEADS).
    """
    signature = types.void(factor, types.int64, types.int64, total, n, r, score, types.int64, types.float64)

    def codegen(context, builder, sig, args):
        lanes = ir.VectorType(_F64, HEAD_WIDTH)

        def number(k):
            return ir.Constant(_I64, k)

        f = builder.load(lanes_at(context, builder, sig.args[0], args[0], args[1], HEAD_WIDTH), align=8)
        place = lanes_at(context, builder, sig.args[4], args[4], builder.mul(args[7], number(HEAD_WIDTH)), HEAD_WIDTH)
        count = builder.fadd(builder.fmul(builder.load(place, align=8), f), _traces(1.0))
        builder.store(count, place, align=8)
        first = ir.Constant(ir.VectorType(ir.IntType(1), HEAD_WIDTH), [k == 0 for k in range(HEAD_WIDTH)])
        used = builder.or_(first, _leaky(builder, args[2]))
        seen = builder.fadd(count, ir.Constant(lanes, [0.0, *[CALM_TICKS] * (HEAD_WIDTH - 1)]))
        weight = builder.select(used, builder.fdiv(_traces(1.0), seen), _traces(0.0))
        scores = context.make_array(sig.args[6])(context, builder, args[6])
        for head in range(HEADS):
            column = number(head * HEAD_WIDTH)
            spikes = builder.load(lanes_at(context, builder, sig.args[3], args[3], column, HEAD_WIDTH), align=4)
            row = builder.add(builder.mul(args[7], number(HEADS * HEAD_WIDTH)), column)
            place = lanes_at(context, builder, sig.args[5], args[5], row, HEAD_WIDTH)
            now = builder.fadd(builder.fmul(builder.load(place, align=8), f), builder.sitofp(spikes, lanes))
            builder.store(now, place, align=8)
            parts = builder.fmul(now, weight)
            value = builder.extract_element(parts, ir.Constant(ir.IntType(32), 0))
            for k in range(1, HEAD_WIDTH):
                value = builder.fadd(value, builder.extract_element(parts, ir.Constant(ir.IntType(32), k)))
            target = builder.gep(scores.data, [builder.add(builder.mul(args[7], number(HEADS)), number(head))])
            builder.store(builder.fptrunc(builder.fmul(value, args[8]), _F32), target)
        return context.get_dummy_value()

    return signature, codegen

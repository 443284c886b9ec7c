"""Integer vector operations that plain compiled loops do not reach, written once as LLVM vectors of any instruction set."""

# ruff: noqa: ARG001
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic


def spread(builder, value, width):
    """One number in all lanes of a vector."""
    lanes = ir.VectorType(value.type, width)
    one = builder.insert_element(ir.Constant(lanes, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, ir.Constant(lanes, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), width), [0] * width))


def lanes_at(context, builder, array_type, array, at, width):
    """Pointer to the `width` numbers from place `at` on of an array, as one vector. No bounds check."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), ir.VectorType(data.type.pointee, width).as_pointer())


@intrinsic
def _equal_bits64(typingctx, flags, at, value):
    """The 64 bytes flags[at:at+64] as one uint64: bit k is set where byte k is `value`. No bounds check."""
    signature = types.uint64(flags, types.intp, types.uint8)

    def codegen(context, builder, sig, args):
        block = builder.load(lanes_at(context, builder, sig.args[0], args[0], args[1], 64), align=1)
        wanted = spread(builder, args[2], 64)
        return builder.bitcast(builder.icmp_unsigned("==", block, wanted), ir.IntType(64))

    return signature, codegen


@intrinsic
def first_bit(typingctx, word):
    """Place of the lowest set bit of a uint64 that is not zero."""
    signature = types.int64(types.uint64)

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], cgutils.true_bit)

    return signature, codegen


def row_adder(width, bits, afresh=False):
    """An intrinsic add(table, first_row, ids, begin, end, out): out[:] += the sum of rows table[first_row + ids[i]] of `width`
    integers over begin <= i < end; with `afresh` out[:] = that sum.

    The sum stays in vector registers over all rows, which plain loops over slices do not reach (three times slower). Integer
    addition wraps and has no order, so every instruction set gives the same. Array lengths are the caller's promise.
    """

    @intrinsic
    def add_rows(typingctx, table, first_row, ids, begin, end, out):
        signature = types.void(table, types.intp, ids, types.intp, types.intp, out)

        def codegen(context, builder, sig, args):
            rows = context.make_array(sig.args[0])(context, builder, args[0])
            chosen = context.make_array(sig.args[2])(context, builder, args[2])
            target = context.make_array(sig.args[5])(context, builder, args[5])
            lanes = ir.VectorType(ir.IntType(bits), width)
            out_pointer = builder.bitcast(target.data, lanes.as_pointer())
            total = cgutils.alloca_once(builder, lanes)
            builder.store(ir.Constant(lanes, [0] * width) if afresh else builder.load(out_pointer, align=bits // 8), total)
            with cgutils.for_range_slice(builder, args[3], args[4], ir.Constant(ir.IntType(64), 1)) as (index, _):
                number = builder.load(builder.gep(chosen.data, [index]))
                if number.type.width < 64:
                    number = builder.zext(number, ir.IntType(64))
                start = builder.mul(builder.add(number, args[1]), ir.Constant(ir.IntType(64), width))
                row = builder.load(builder.bitcast(builder.gep(rows.data, [start]), lanes.as_pointer()), align=bits // 8)
                builder.store(builder.add(builder.load(total), row), total)
            builder.store(builder.load(total), out_pointer, align=bits // 8)
            return context.get_dummy_value()

        return signature, codegen

    return add_rows


@njit(nogil=True, cache=True)
def spiking_places(flags, value, out):
    """Places of the bytes of `flags` (8-bit, length a multiple of 64) that equal `value`, ascending, into `out`; returns how many."""
    count = 0
    for block in range(flags.size >> 6):
        word = _equal_bits64(flags, block << 6, value)
        while word != 0:
            out[count] = (block << 6) + first_bit(word)
            count += 1
            word &= word - np.uint64(1)
    return count

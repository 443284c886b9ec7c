"""Integer vector operations that plain compiled loops do not reach, written once as LLVM vectors of any instruction set."""

# ruff: noqa: ARG001
# mypy: disable-error-code="no-untyped-def, no-untyped-call, import-untyped"

from __future__ import annotations

from llvmlite import ir
from numba import types
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
def first_bit(typingctx, word):
    """Place of the lowest set bit of a uint64 that is not zero."""
    signature = types.int64(types.uint64)

    def codegen(context, builder, sig, args):
        return builder.cttz(args[0], cgutils.true_bit)

    return signature, codegen


def _rolled(builder, branch):
    """Keeps a loop rolled: of few turns, whose number no CPU foresees, an unrolled one costs more wrong guesses than it saves turns."""
    module = builder.module
    rule = module.add_metadata(["llvm.loop.unroll.disable"])
    loop = module.add_metadata([rule, module.add_metadata([f"loop {len(module.metadata)}"])])
    loop.operands = (loop, rule)
    branch.set_metadata("llvm.loop", loop)


def _row_at(context, builder, array_type, array, row, width):
    """Row `row` of a table of `width` integers a row, as one vector."""
    place = lanes_at(context, builder, array_type, array, builder.mul(row, ir.Constant(ir.IntType(64), width)), width)
    return builder.load(place, align=place.type.pointee.element.width // 8)


def row_summer(width, bits, other_width, other_bits):
    """An intrinsic sum(table, other, ids, begin, end, out, other_out): out[:] = the sum of table[ids[i]] over begin <= i < end, and
    the same for the other table. Rows of `width` integers of `bits` bits.

    The sums stay in vector registers over all rows, which plain loops over slices do not reach (three times slower). Integer
    addition wraps and has no order, so every instruction set gives the same. Array lengths are the caller's promise.
    """

    @intrinsic
    def sum_rows(typingctx, table, other, ids, begin, end, out, other_out):
        signature = types.void(table, other, ids, types.int64, types.int64, out, other_out)

        def codegen(context, builder, sig, args):
            number = ir.IntType(64)
            chosen = context.make_array(sig.args[2])(context, builder, args[2])
            kinds = ir.VectorType(ir.IntType(bits), width), ir.VectorType(ir.IntType(other_bits), other_width)
            zeros = [ir.Constant(kind, [0] * kind.count) for kind in kinds]
            before = builder.block
            turn, after = builder.append_basic_block("turn"), builder.append_basic_block("after")
            builder.cbranch(builder.icmp_signed("<", args[3], args[4]), turn, after)
            builder.position_at_end(turn)
            index = builder.phi(number)
            totals = [builder.phi(kind) for kind in kinds]
            row = builder.load(builder.gep(chosen.data, [index]))
            row = builder.zext(row, number) if row.type.width < 64 else row
            sums = [
                builder.add(total, _row_at(context, builder, sig.args[k], args[k], row, total.type.count)) for k, total in enumerate(totals)
            ]
            following = builder.add(index, ir.Constant(number, 1))
            _rolled(builder, builder.cbranch(builder.icmp_signed("<", following, args[4]), turn, after))
            index.add_incoming(args[3], before)
            index.add_incoming(following, turn)
            for total, zero, value in zip(totals, zeros, sums, strict=True):
                total.add_incoming(zero, before)
                total.add_incoming(value, turn)
            builder.position_at_end(after)
            for k, (kind, zero, value) in enumerate(zip(kinds, zeros, sums, strict=True)):
                result = builder.phi(kind)
                result.add_incoming(zero, before)
                result.add_incoming(value, turn)
                sums[k] = result
            for k, value in enumerate(sums):
                place = lanes_at(context, builder, sig.args[5 + k], args[5 + k], ir.Constant(number, 0), value.type.count)
                builder.store(value, place, align=value.type.element.width // 8)
            return context.get_dummy_value()

        return signature, codegen

    return sum_rows


def marked_row_adder(width, bits):
    """An intrinsic add(table, first_row, low, high, out, places): for each set bit k of the uint64 `low`, then for k = 64 + each of
    `high`, ascending, out[:] += table[first_row + k] and k is the next of `places`. Returns how many bits are set.

    One loop over both words: where it ends no CPU foresees, and two loops are guessed wrong twice.
    """

    @intrinsic
    def add_marked(typingctx, table, first_row, low, high, out, places):
        signature = types.int64(table, types.int64, types.uint64, types.uint64, out, places)

        def codegen(context, builder, sig, args):
            number = ir.IntType(64)
            zero, one, word = (ir.Constant(number, k) for k in (0, 1, 64))
            kind = ir.VectorType(ir.IntType(bits), width)
            target = lanes_at(context, builder, sig.args[4], args[4], zero, width)
            start = builder.load(target, align=bits // 8)
            list_of = context.make_array(sig.args[5])(context, builder, args[5])
            before = builder.block
            turn, after = builder.append_basic_block("turn"), builder.append_basic_block("after")
            builder.cbranch(builder.icmp_unsigned("!=", builder.or_(args[2], args[3]), zero), turn, after)
            builder.position_at_end(turn)
            left, left_high, found, total = builder.phi(number), builder.phi(number), builder.phi(number), builder.phi(kind)
            in_low = builder.icmp_unsigned("!=", left, zero)
            in_high = builder.add(builder.cttz(left_high, cgutils.false_bit), word)
            place = builder.select(in_low, builder.cttz(left, cgutils.false_bit), in_high)
            builder.store(place, builder.gep(list_of.data, [found]))
            value = builder.add(total, _row_at(context, builder, sig.args[0], args[0], builder.add(place, args[1]), width))
            rest = builder.and_(left, builder.sub(left, one))
            rest_high = builder.select(in_low, left_high, builder.and_(left_high, builder.sub(left_high, one)))
            following = builder.add(found, one)
            builder.cbranch(builder.icmp_unsigned("!=", builder.or_(rest, rest_high), zero), turn, after)
            for phi, at_first, at_turn in (
                (left, args[2], rest),
                (left_high, args[3], rest_high),
                (found, zero, following),
                (total, start, value),
            ):
                phi.add_incoming(at_first, before)
                phi.add_incoming(at_turn, turn)
            builder.position_at_end(after)
            outs = []
            for at_first, at_turn in ((zero, following), (start, value)):
                outs.append(builder.phi(at_first.type))
                outs[-1].add_incoming(at_first, before)
                outs[-1].add_incoming(at_turn, turn)
            builder.store(outs[1], target, align=bits // 8)
            return outs[0]

        return signature, codegen

    return add_marked

"""`u64x8`: eight uint64 in one AVX-512 register, as a Numba type.

Its operators are those of uint64 (+ - * & | ^ << >>, each also with a uint64 on one side, which then stands in every
lane), so one text serves a number and eight numbers. Values live only inside kernels; arrays of uint64 hold them
outside.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

VECTOR = ir.VectorType(ir.IntType(64), 8)


class U64x8(types.Type):
    def __init__(self) -> None:
        super().__init__(name="u64x8")


u64x8 = U64x8()


@register_model(U64x8)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Any) -> None:
        super().__init__(manager, numba_type, VECTOR)


def splat(builder: Any, word: Any) -> Any:
    """Put one i64 in every lane."""
    first = builder.insert_element(ir.Constant(VECTOR, ir.Undefined), word, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
    return builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), zeros)


def constant(word: int) -> Any:
    """Return the vector constant with `word` in every lane."""
    return ir.Constant(VECTOR, [word] * 8)


def fused(builder: Any, half: str, total: Any, a: Any, b: Any) -> Any:
    """Add the low ('l') or high ('h') 52 bits of the product of the low 52 bits of a and b to total (IFMA)."""
    signature = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = cgutils.get_or_insert_function(builder.module, signature, f"llvm.x86.avx512.vpmadd52{half}.uq.512")
    return builder.call(function, [total, a, b])


def _operator(symbol: Callable[[Any, Any], Any], instruction: str) -> None:
    @intrinsic
    def apply(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            a, b = (
                value if kind == u64x8 else splat(builder, value)
                for value, kind in zip(arguments, signature.args, strict=True)
            )
            return getattr(builder, instruction)(a, b)

        return u64x8(a, b), generate

    @overload(symbol)
    def typed(a, b):  # type: ignore[no-untyped-def]
        if (a, b) in ((u64x8, u64x8), (u64x8, types.uint64), (types.uint64, u64x8)):
            return lambda a, b: apply(a, b)  # type: ignore[call-arg]  # an intrinsic is called without its context
        return None


for _symbol, _instruction in (
    (operator.add, "add"),
    (operator.sub, "sub"),
    (operator.mul, "mul"),
    (operator.and_, "and_"),
    (operator.or_, "or_"),
    (operator.xor, "xor"),
    (operator.lshift, "shl"),
    (operator.rshift, "lshr"),
):
    _operator(_symbol, _instruction)


def pointer(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    start = builder.gep(context.make_array(kind)(context, builder, array).data, [index])
    return builder.bitcast(start, VECTOR.as_pointer())


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return the eight words from a position of a flat, contiguous array of integers; no bounds are checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(pointer(context, builder, signature.args[0], *arguments))
        value.align = signature.args[0].dtype.bitwidth // 8
        return value

    return u64x8(array, types.intp), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write eight words to a position of a flat, contiguous array of integers; no bounds are checked."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.args[0]
        builder.store(arguments[2], pointer(context, builder, kind, *arguments[:2])).align = kind.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, u64x8), generate


@intrinsic
def broadcast(typing: Any, word: Any) -> Any:
    """Return a vector with the uint64 in every lane."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return splat(builder, arguments[0])

    return u64x8(types.uint64), generate


def shuffled(builder: Any, a: Any, b: Any, order: tuple[int, ...] | list[int]) -> Any:
    """Return the lanes that `order` names, of a and then of b."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(order)), list(order)))


@intrinsic
def load_rows(typing: Any, array: Any, places: Any, offset: Any) -> Any:
    """Return the four words from each of eight positions (plus `offset`) of a flat array, turned into four vectors.

    Two rounds of shuffles turn rows into columns; gathers take several times as long. No bounds are checked.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data, positions = (
            context.make_array(kind)(context, builder, array).data
            for kind, array in zip(signature.args[:2], arguments[:2], strict=True)
        )
        rows = []
        for lane in range(8):
            # One at a time: a vector of positions that were just written one by one waits until they are in the cache.
            position = builder.load(builder.gep(positions, [ir.Constant(ir.IntType(64), lane)]))
            place = builder.gep(data, [builder.add(position, arguments[2])])
            row = builder.load(builder.bitcast(place, ir.VectorType(ir.IntType(64), 4).as_pointer()))
            row.align = 8
            rows.append(row)
        halves = [shuffled(builder, rows[i], rows[i + 4], list(range(8))) for i in range(4)]
        even, odd = [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]
        pairs = [shuffled(builder, halves[i], halves[i + 1], lanes) for lanes in (even, odd) for i in (0, 2)]
        low, high = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
        columns = [shuffled(builder, pairs[i], pairs[i + 1], lanes) for lanes in (low, high) for i in (0, 2)]
        return context.make_tuple(builder, signature.return_type, columns)

    return types.UniTuple(u64x8, 4)(array, places, types.uint64), generate

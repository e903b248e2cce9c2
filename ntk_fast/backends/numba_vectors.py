"""Explicit vectors for Numba: a vocabulary like that of csrc/simd.h, and pointers to the memory they come from.

Numba vectorises plain loops over columns by itself, but it has no vectors. A function under :func:`kernel` has them:
it is run once, when Numba compiles its caller, and emits LLVM instructions on vectors of the processor's width. LLVM
splits what a processor lacks.

Memory comes as pointers, which :func:`pointer` takes from arrays; offsets count numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

#: What Numba compiles for: the processor's own instructions, unless the environment (NUMBA_CPU_NAME) says otherwise.
_TARGET, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
#: In compiled code, a pointer to numbers of the tile's dtype; in Python, the flat array that it is taken from.
Pointer = Any

HAS_AVX512 = "+avx512f" in _FEATURES
HAS_AVX2 = "+avx2" in _FEATURES
HAS_32_REGISTERS = HAS_AVX512 or not _TARGET.startswith(("x86", "i386", "i686"))
VECTOR_BYTES = 64 if HAS_AVX512 else 32 if HAS_AVX2 else 16
CACHE_LINE = 64


def integer(value: int | ir.Value) -> ir.Value:
    return ir.Constant(cgutils.intp_t, value) if isinstance(value, int) else value


def lane_numbers(lanes: list[int]) -> ir.Constant:
    """A vector of lane numbers."""
    return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)


def call_llvm(builder: ir.IRBuilder, name: str, arguments: list[ir.Value]) -> ir.Value:
    """Call one of LLVM's own functions, which return what they take first."""
    kind = ir.FunctionType(arguments[0].type, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


class Vector:
    """A value in every lane, while a kernel is emitted: numbers, or the truth of a comparison."""

    def __init__(self, builder: ir.IRBuilder, value: ir.Value) -> None:
        self.builder = builder
        self.value = value

    def _with(self, instruction: Callable[..., ir.Value], *others: Vector) -> Vector:
        return Vector(self.builder, instruction(self.value, *(other.value for other in others)))

    def __add__(self, other: Vector) -> Vector:
        return self._with(self.builder.fadd, other)

    def __sub__(self, other: Vector) -> Vector:
        return self._with(self.builder.fsub, other)

    def __mul__(self, other: Vector) -> Vector:
        return self._with(self.builder.fmul, other)

    def __truediv__(self, other: Vector) -> Vector:
        return self._with(self.builder.fdiv, other)

    def __neg__(self) -> Vector:
        return self._with(self.builder.fneg)

    def __lt__(self, other: Vector) -> Vector:
        return Vector(self.builder, self.builder.fcmp_ordered("<", self.value, other.value))

    def select(self, yes: Vector, no: Vector) -> Vector:
        """By the truth in each lane."""
        return self._with(self.builder.select, yes, no)

    def intrinsic(self, name: str, *others: Vector) -> Vector:
        """Call LLVM's function of this name, which takes and returns such vectors."""
        return Vector(self.builder, call_llvm(self.builder, name, [self.value, *(other.value for other in others)]))


class Emitter:
    """Where a kernel's vectors come from: constants, memory, registers that change in a loop."""

    def __init__(self, builder: ir.IRBuilder, number: ir.Type, itemsize: int) -> None:
        self.builder = builder
        self.itemsize = itemsize
        self.lanes = VECTOR_BYTES // itemsize
        self.kind = ir.VectorType(number, self.lanes)
        self._suffix = f"v{self.lanes}f{8 * itemsize}"

    def number(self, value: float) -> Vector:
        return Vector(self.builder, ir.Constant(self.kind, [value] * self.lanes))

    def at(self, pointer: ir.Value, *offsets: int | ir.Value) -> ir.Value:
        for offset in offsets:
            pointer = self.builder.gep(pointer, [integer(offset)])
        return pointer

    def times(self, a: ir.Value, b: int | ir.Value) -> ir.Value:
        return self.builder.mul(a, integer(b))

    def load(self, pointer: ir.Value, *offsets: int | ir.Value) -> Vector:
        place = self.builder.bitcast(self.at(pointer, *offsets), self.kind.as_pointer())
        return Vector(self.builder, self.builder.load(place, align=self.itemsize))

    def store(self, vector: Vector, pointer: ir.Value, *offsets: int | ir.Value) -> None:
        place = self.builder.bitcast(self.at(pointer, *offsets), self.kind.as_pointer())
        self.builder.store(vector.value, place, align=self.itemsize)

    def load_repeated(self, pointer: ir.Value, *offsets: int | ir.Value) -> Vector:
        """One number from memory, in every lane."""
        number = self.builder.load(self.at(pointer, *offsets))
        undefined = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return Vector(self.builder, self.builder.shuffle_vector(first, undefined, lane_numbers([0] * self.lanes)))

    def gather(self, pointer: ir.Value, offsets: list[ir.Value]) -> Vector:
        """A number from memory for each lane."""
        vector = ir.Constant(self.kind, ir.Undefined)
        for lane, offset in enumerate(offsets):
            number = self.builder.load(self.builder.gep(pointer, [offset]))
            vector = self.builder.insert_element(vector, number, ir.Constant(ir.IntType(32), lane))
        return Vector(self.builder, vector)

    def register(self, vector: Vector) -> Register:
        return Register(self.builder, vector)

    def shuffle(self, a: Vector, b: Vector, lanes: list[int]) -> Vector:
        """Lanes of a and, counted on from those, of b."""
        return Vector(self.builder, self.builder.shuffle_vector(a.value, b.value, lane_numbers(lanes)))

    def sum_of_lanes(self, a: Vector) -> ir.Value:
        """Their sum as one number, added from the first lane on."""
        total = ir.Constant(self.kind.element, 0.0)
        for lane in range(self.lanes):
            number = self.builder.extract_element(a.value, ir.Constant(ir.IntType(32), lane))
            total = self.builder.fadd(total, number)
        return total

    def square_root(self, a: Vector) -> Vector:
        return a.intrinsic(f"llvm.sqrt.{self._suffix}")

    def absolute(self, a: Vector) -> Vector:
        return a.intrinsic(f"llvm.fabs.{self._suffix}")

    def multiply_add(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """a * b + c, in one rounding where the processor has such an instruction."""
        return a.intrinsic(f"llvm.fmuladd.{self._suffix}", b, c)

    def multiply_add_exact(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """a * b + c, in one rounding on every processor."""
        return a.intrinsic(f"llvm.fma.{self._suffix}", b, c)

    def loop(self, start: int | ir.Value, stop: int | ir.Value, step: int) -> AbstractContextManager[Any]:
        """A loop like Python's range: the context is the index."""
        bounds = integer(start), integer(stop), integer(step)
        return cgutils.for_range_slice(self.builder, *bounds, inc=step > 0)


class Register:
    """A vector that changes in a loop; LLVM keeps it in a register if there are enough of them."""

    def __init__(self, builder: ir.IRBuilder, vector: Vector) -> None:
        self._builder = builder
        self._place = cgutils.alloca_once(builder, vector.value.type)
        self.set(vector)

    def set(self, vector: Vector) -> None:
        self._builder.store(vector.value, self._place)

    def get(self) -> Vector:
        return Vector(self._builder, self._builder.load(self._place))


#: What an intrinsic tells Numba: its signature, and what emits its instructions.
Emission = tuple[Any, Callable[..., ir.Value]]


def _function(define: Callable[..., Emission]) -> Any:
    """Make a function for Numba's functions to call; Numba's own decorator has the type of what it decorates."""
    return intrinsic(define)


def kernel(emit: Callable[..., None]) -> Any:
    """Make a function without result that Numba's functions can call, from one that emits its instructions.

    `emit` takes an :class:`Emitter` and what the caller passes: first pointers to numbers of one type, then integers.
    """

    def typed(typing_context: Any, *arguments: Any) -> Emission:
        kinds = [kind if isinstance(kind, types.CPointer) else types.intp for kind in arguments]
        number = arguments[0].dtype

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
            emit(Emitter(builder, context.get_value_type(number), number.bitwidth // 8), *values)
            return context.get_dummy_value()

        return types.void(*kinds), generate

    return _function(wraps(emit)(typed))


@_function
def pointer(typing_context: Any, array: Any) -> Emission:
    """Return a pointer to an array's first number."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return context.make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), generate


@_function
def advance(typing_context: Any, pointer: Any, offset: Any) -> Emission:
    """Return a pointer to the number that is so many numbers further on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return builder.gep(values[0], [values[1]])

    return pointer(pointer, types.intp), generate


@_function
def itemsize(typing_context: Any, pointer: Any) -> Emission:
    """Return the bytes of a number that a pointer points to, as a constant."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return context.get_constant(types.intp, pointer.dtype.bitwidth // 8)

    return types.intp(pointer), generate


@_function
def number(typing_context: Any, pointer: Any, value: Any) -> Emission:
    """Return a number in the precision of those that a pointer points to."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return context.cast(builder, values[1], types.float64, pointer.dtype)

    return pointer.dtype(pointer, types.float64), generate


@_function
def multiply_add(typing_context: Any, a: Any, b: Any, c: Any) -> Emission:
    """Return a * b + c, in one rounding where the processor has such an instruction, and everywhere the same."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return call_llvm(builder, f"llvm.fmuladd.f{a.bitwidth}", values)

    return a(a, a, a), generate


@_function
def multiply_add_exact(typing_context: Any, a: Any, b: Any, c: Any) -> Emission:
    """Return a * b + c, in one rounding on every processor."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        return call_llvm(builder, f"llvm.fma.f{a.bitwidth}", values)

    return a(a, a, a), generate


@_function
def store_number(typing_context: Any, value: Any, address: Any) -> Emission:
    """Store a number at any address."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        builder.store(values[0], builder.inttoptr(values[1], values[0].type.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(value, types.intp), generate


@_function
def finish_stores(typing_context: Any) -> Emission:
    """Make what was stored past the caches visible to whoever is told that we finished."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, values: Any) -> ir.Value:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


#: What is not an entry point is compiled into its callers. Division by zero gives infinity, as in vectors.
compiled = njit(nogil=True, error_model="numpy")


@compiled
def clear(target: Pointer, n: int) -> None:
    for k in range(n):
        target[k] = 0


@compiled
def copy(source: Pointer, target: Pointer, n: int) -> None:
    for k in range(n):
        target[k] = source[k]

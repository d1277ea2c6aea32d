"""Vectors of 16 numbers as Numba values, so that a kernel says what each register holds.

LLVM splits a vector into what the processor has (one AVX-512 register, two of AVX2, four of NEON).
`fma` rounds once everywhere and nothing is reassociated: the same pixel gets the same bits whatever
tile, thread or machine computes it.
"""

import logging
import operator
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import event
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

WIDTH = 16
log = logging.getLogger(__name__)
_I32, _I64 = ir.IntType(32), ir.IntType(64)

_PART = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inline = numba.njit(**_PART, forceinline=True)  # part of a kernel
apart = numba.njit(**_PART)  # likewise, but compiled for itself: registers of its own


def kernel(function: Callable[..., Any]) -> Any:
    """Compile for calls from Python, once per machine: the result is kept on disk.

    Numba compiles anew when the file of the function changes, but a kernel consists of pieces from all
    files of this folder; so their text together is the stamp.
    """
    _announce()
    try:
        dispatcher = numba.njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder that can be written to
        log.warning("compiled code cannot be kept: set NUMBA_CACHE_DIR to a folder that can be written to")
        return numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher._cache._cache_file._source_stamp = _digest()
    return dispatcher


class _Notice(event.Listener):  # type: ignore[misc]
    """Says that the machine is busy compiling, when it starts to."""

    def on_start(self, event: Any) -> None:
        _say_once()

    def on_end(self, event: Any) -> None:
        """Nothing to say: the work itself begins."""


@cache
def _announce() -> None:
    event.register("numba:compile", _Notice())


@cache
def _say_once() -> None:
    log.info("compiling for this processor, as what is used for the first time: some ten seconds")


@cache
def _digest() -> str:
    texts = (path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    return sha256(b"".join(texts)).hexdigest()


class Vector(types.Type):  # type: ignore[misc]  # numba has no types for mypy
    """Numba type of 16 float32 or float64."""

    def __init__(self, double: bool) -> None:
        self.double = double
        super().__init__(name="f64x16" if double else "f32x16")


F32, F64 = Vector(False), Vector(True)


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, dmm: Any, fe_type: Vector) -> None:
        super().__init__(dmm, fe_type, _llvm(fe_type))


def _llvm(kind: Vector) -> ir.VectorType:
    return ir.VectorType(ir.DoubleType() if kind.double else ir.FloatType(), WIDTH)


def _declare(op: Any, emit: str) -> None:
    @infer_global(op)
    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            if len(args) == 2 and args[0] == args[1] and isinstance(args[0], Vector):
                return signature(args[0], *args)
            return None

    @lower_builtin(op, Vector, Vector)
    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, emit)(*args)


for _op, _emit in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _declare(_op, _emit)


def address(context: Any, builder: Any, kind: Any, array: Any, index: Any, to: Any) -> Any:
    """Pointer to `array[index]` as a pointer to `to`: no bounds check, no negative indices."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), to.as_pointer())


def splatted(builder: Any, value: Any, to: ir.VectorType) -> Any:
    """`value` in every lane of a new vector of type `to`."""
    one = builder.insert_element(ir.Constant(to, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, to.count), [0] * to.count))


@intrinsic
def load(typing: Any, array: Any, index: Any) -> Any:
    """`array[index : index + 16]` of a flat float32 array."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(address(context, builder, sig.args[0], args[0], args[1], _llvm(F32)))
        value.align = 4
        return value

    return F32(array, types.intp), emit


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index : index + 16] = value`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        place = address(context, builder, sig.args[0], args[0], args[1], _llvm(F32))
        builder.store(args[2], place).align = 4
        return context.get_dummy_value()

    return types.void(array, types.intp, F32), emit


@intrinsic
def splat(typing: Any, value: Any) -> Any:
    """The same number in every lane; a float64 makes a vector of float64."""
    kind = F64 if value == types.float64 else F32

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return splatted(builder, args[0], _llvm(kind))

    return kind(types.float64 if kind.double else types.float32), emit


@intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, rounded once."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _each_lane(builder, "llvm.fma", sig, args)

    return a(a, b, c), emit


def _each_lane(builder: Any, name: str, sig: Any, args: Any) -> Any:
    kind = _llvm(sig.return_type)
    full = f"{name}.v{WIDTH}f{64 if sig.return_type.double else 32}"
    known = builder.module.globals.get(full)
    function = known or ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(args)), full)
    return builder.call(function, args)


def _unary(name: str) -> Any:
    @intrinsic
    def call(typing: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return _each_lane(builder, name, sig, args)

        return value(value), emit

    return call


sqrt, absolute = _unary("llvm.sqrt"), _unary("llvm.fabs")


@intrinsic
def larger(typing: Any, a: Any, b: Any) -> Any:
    """Lane by lane maximum of finite numbers."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), emit


@intrinsic
def choose(typing: Any, sign: Any, a: Any, b: Any) -> Any:
    """Lane by lane `a` where `sign` is not negative, else `b`."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        zero = ir.Constant(_llvm(sig.args[0]), [0.0] * WIDTH)
        return builder.select(builder.fcmp_ordered(">=", args[0], zero), args[1], args[2])

    return a(sign, a, b), emit


@intrinsic
def widen(typing: Any, value: Any) -> Any:
    """The same numbers as float64."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fpext(args[0], _llvm(F64))

    return F64(F32), emit


@intrinsic
def narrow(typing: Any, value: Any) -> Any:
    """Rounded to float32."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptrunc(args[0], _llvm(F32))

    return F32(F64), emit


@intrinsic
def lane(typing: Any, value: Any, index: Any) -> Any:
    """One number of a vector."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], builder.trunc(args[1], _I32))

    return types.float32(F32, types.intp), emit


@apart
def store_part(array, index, value, count):
    """The first `count` lanes only: the end of a row that is no multiple of 16."""
    for i in range(count):
        array[index + i] = lane(value, i)

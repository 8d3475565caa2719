"""How kernels are compiled: one decorator for kernels, one for helpers, and the instructions that Numba lacks.

A kernel is compiled ahead for one signature and for no other, so that an argument of another type is an error and never
a second, subtly different machine code. Arrays are C-contiguous; those that a kernel only reads may be read-only.
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, event, types
from numba.extending import intrinsic

log = logging.getLogger("synergos.kernels")
_compiling = threading.RLock()


def reads(dtype: types.Type, dimensions: int) -> types.Array:
    """Return the type of an array argument that the kernel does not write."""
    return types.Array(dtype, dimensions, "C", readonly=True)


def writes(dtype: types.Type, dimensions: int) -> types.Array:
    """Return the type of an array argument that the kernel fills."""
    return types.Array(dtype, dimensions, "C")


def kernel(*arguments: types.Type) -> Callable[[Callable[..., Any]], Any]:
    """Make a function a kernel that returns nothing and takes these argument types; it runs without the GIL."""

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher: Any = numba.njit(nogil=True)(function)
        dispatcher.arguments = arguments
        _keep(dispatcher)
        return dispatcher

    return decorate


def _keep(dispatcher: Any) -> None:
    """Have the compiled code kept: in `NUMBA_CACHE_DIR`, else beside the source, else in the user's cache folder.

    Numba stamps the code of a kernel with the kernel's own file. Helpers live in other files here, so a stale kernel
    would survive a change of a helper: the stamp of the whole folder joins it. Numba tells CPUs and versions apart.
    """
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # no such folder can be written
        _warn_that_nothing_is_kept()
        return
    own = Path(dispatcher.py_func.__code__.co_filename).read_bytes()
    dispatcher._cache._cache_file._source_stamp = hashlib.sha256(_folder_stamp() + own).digest()


@cache
def _warn_that_nothing_is_kept() -> None:
    log.warning("Compiled kernels cannot be kept, so each process compiles them. Let NUMBA_CACHE_DIR name a folder.")


helper = numba.njit
inlined = numba.njit(forceinline=True)


@cache
def _folder_stamp() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.digest()


def compile_ahead(dispatcher: Any) -> None:
    """Compile a kernel for its signature, or read it from the cache, and close it against others.

    One thread at a time: the parties of one process may ask for the same kernel at the same moment.
    """
    with _compiling:
        if not dispatcher.signatures:
            with event.install_listener("numba:compile", _Announcement(dispatcher)):
                _compile(dispatcher)
            dispatcher.disable_compile()


def _compile(dispatcher: Any) -> None:
    try:
        dispatcher.compile(dispatcher.arguments)
    except OSError as error:
        if not dispatcher.signatures:
            raise
        log.warning(
            "The kernel %s is compiled but could not be kept: %s. Let NUMBA_CACHE_DIR name a folder with space.",
            dispatcher.py_func.__qualname__,
            error.strerror,
        )


class _Announcement(event.Listener):
    """Says so when a kernel must be compiled; code read from the cache raises no such event."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def on_start(self, event: Any) -> None:
        if event.data["dispatcher"] is self.kernel:
            log.info(
                "Compiling the kernel %s for this CPU; it is kept for later runs. `synergos warmup` does it ahead.",
                self.kernel.__qualname__,
            )

    def on_end(self, event: Any) -> None:
        pass


@intrinsic
def multiply_high(typing: Any, a: Any, b: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the upper 64 bits of the product of two uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*[builder.zext(argument, wide) for argument in arguments])
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic
def prefetch(typing: Any, array: Any, index: Any) -> tuple[Any, Callable[..., Any]]:
    """Have the cache line of a position of a flat array fetched; a position that does not exist does no harm."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.gep(context.make_array(signature.args[0])(context, builder, arguments[0]).data, [arguments[1]])
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(number, i) for i in (0, 3, 1))
        builder.call(function, [builder.bitcast(place, pointer), read, keep, data])
        return context.get_dummy_value()

    return types.void(array, index), generate


def hidden(constraint: str) -> Callable[..., Any]:
    """Return a generator of code that gives its argument back without the compiler's knowing that it is the same."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        return builder.asm(ir.FunctionType(kind, [kind]), "", f"={constraint},0", arguments, side_effect=False)

    return generate


@helper
def scratch(count):  # type: ignore[no-untyped-def]
    """Return working memory of `count` words that starts a cache line: a vector across two lines costs twice."""
    words = np.empty(count + 7, np.uint64)
    start = -(words.ctypes.data >> 3) & 7
    return words[start : start + count]

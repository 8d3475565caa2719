"""What the compiler made of the code that handles a secret scalar: no branch may depend on it.

The claim is easily lost, for a compiler may turn masks back into branches, and once did. What is held to it here are
the three walks over the digits of a scalar; addresses are the same by construction (whole tables are read).
"""

from __future__ import annotations

import platform
import re

import numba
import numpy as np
import pytest
from numba.core import types

from engine.kernels import rows, tiers
from engine.kernels.each import multiple_each
from engine.kernels.edwards import multiple, put_element
from engine.kernels.portable import field as _portable  # noqa: F401  brings the overloads
from engine.kernels.rows import base_multiple
from engine.kernels.simd import field as _simd  # noqa: F401  brings the overloads
from engine.kernels.simd.vector import broadcast

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")

WORDS, DIGITS, TABLE = types.uint64[::1], types.int8[::1], types.uint64[:, :, ::1]
SIMD = pytest.param("simd", marks=pytest.mark.skipif(not tiers.has_simd(), reason="no AVX-512 IFMA"))


@numba.njit
def one(word):  # type: ignore[no-untyped-def]
    return word


def assembly(walk: str, tier: str) -> str:
    word = broadcast if tier == "simd" else one

    def variable(digits, table, out):  # type: ignore[no-untyped-def]
        put_element(out, 0, multiple(digits, table, word(np.uint64(0)))[0])

    def base(words, table, out):  # type: ignore[no-untyped-def]
        like = word(np.uint64(0))
        scalar = rows.gather4(table[0], 0, words, like)
        put_element(out, 0, base_multiple(scalar, table, like)[0])

    def own(words, table, out):  # type: ignore[no-untyped-def]
        like = word(np.uint64(0))
        scalar = rows.gather4(table[0], 0, words, like)
        put_element(out, 0, multiple_each(scalar, words, like)[0])

    function, signature = {
        "multiple": (variable, types.void(DIGITS, WORDS, WORDS)),
        "base_multiple": (base, types.void(WORDS, TABLE, WORDS)),
        "multiple_each": (own, types.void(WORDS, TABLE, WORDS)),
    }[walk]
    compiled = numba.njit(signature)(function)
    return str(compiled.inspect_asm(compiled.signatures[0]))


def branches(code: str, name: str) -> list[tuple[bool, str]]:
    """Return, for each conditional jump of the function with `name` in its symbol: is it back, and what it tests."""
    found, inside = [], False
    lines = [line.strip() for line in code.splitlines()]
    labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
    for i, line in enumerate(lines):
        if line.endswith(":") and not line.startswith("."):
            inside = name in line
        jump = re.match(r"j(?!mp)[a-z]+\s+(\S+)", line)
        if inside and jump:
            found.append((labels[jump[1]] < i, lines[i - 1]))
    return found


@pytest.mark.parametrize("tier", ["portable", SIMD])
@pytest.mark.parametrize("walk", ["multiple", "base_multiple", "multiple_each"])
def test_branches_close_loops_or_check_the_status_of_a_call(walk: str, tier: str) -> None:
    """A jump ahead may also end the loop over 64 windows; no digit reaches that number, which tells the two apart."""
    jumps = branches(assembly(walk, tier), f"{len(walk)}{walk}")
    assert jumps
    for back, tested in jumps:
        assert back or re.match(r"testl\s+%eax, %eax|cmpq\s+\$64, ", tested), f"{walk} in {tier} branches on: {tested}"

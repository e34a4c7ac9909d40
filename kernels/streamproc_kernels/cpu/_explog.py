"""exp and log without calls or branches, so that loops over them vectorise."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False
# Numba types these functions itself.

import math
import zlib
from pathlib import Path
from types import ModuleType
from typing import Any

from llvmlite import ir
from numba import float64, njit, types, void
from numba.extending import intrinsic

# addition only fused into multiplication: order of operations keeps its meaning
FLAGS = {"contract"}

_INV_LN2 = 1.0 / math.log(2.0)
_LN2_HIGH = 6.93147180369123816490e-01  # the top bits of ln 2, so k * it is exact
_LN2_LOW = 1.90821492927058770002e-10
_ROUND = 6755399441055744.0  # 1.5 * 2^52: adding it rounds to an integer
_ROUND_BITS = 0x4338000000000000
_ONE_BITS = 0x3FF0000000000000
_ROOT_HALF_BITS = 0x3FE6A09E667F3BCD  # sqrt(1/2)


def _intrinsic(function: Any) -> Any:
    """Numba's decorator, which takes the first argument away from callers."""
    return intrinsic(function)


@_intrinsic
def bits(typing_context: Any, x: Any) -> Any:
    """The 64 bits of a double as an integer."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.IntType(64))

    return types.int64(types.float64), lowered


@_intrinsic
def double(typing_context: Any, k: Any) -> Any:
    """The double of these 64 bits."""

    def lowered(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return builder.bitcast(given[0], ir.DoubleType())

    return types.float64(types.int64), lowered


@njit(inline="always")
def exp(z):
    """e^z for z in [-700, 0], 1e-15 relative.

    exp(z) = 2^k exp(r / 2)^2,  k = round(z / ln 2),  r = z - k ln 2. The low bits
    of `power` hold k, and adding k to the exponent field multiplies by 2^k.
    """
    power = z * _INV_LN2 + _ROUND
    k = power - _ROUND
    r = 0.5 * ((z - k * _LN2_HIGH) - k * _LN2_LOW)
    q = 1.0 / 3628800.0
    q = q * r + 1.0 / 362880.0
    q = q * r + 1.0 / 40320.0
    q = q * r + 1.0 / 5040.0
    q = q * r + 1.0 / 720.0
    q = q * r + 1.0 / 120.0
    q = q * r + 1.0 / 24.0
    q = q * r + 1.0 / 6.0
    q = q * r + 0.5
    q = q * r + 1.0
    q = q * r + 1.0
    return double(bits(q * q) + (bits(power) << 52))


@njit(inline="always")
def log(x):
    """ln x for normal x > 0, within a unit in the last place; log(1) = 0.

    x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), s = f / (2 + f);
    coefficients of FreeBSD's e_log.c.
    """
    raised = bits(x) + (_ONE_BITS - _ROOT_HALF_BITS)
    biased = raised >> 52
    f = double(bits(x) - ((biased - 1023) << 52)) - 1.0
    k = double(biased + _ROUND_BITS) - (_ROUND + 1023.0)
    s = f / (2.0 + f)
    z = s * s
    r = 1.479819860511658591e-01
    r = r * z + 1.531383769920937332e-01
    r = r * z + 1.818357216161805012e-01
    r = r * z + 2.222219843214978396e-01
    r = r * z + 2.857142874366239149e-01
    r = r * z + 3.999999999940941908e-01
    r = r * z + 6.666666666666735130e-01
    half = 0.5 * f * f
    return k * _LN2_HIGH - ((half - (s * (half + r * z) + k * _LN2_LOW)) - f)


@njit(inline="always")
def power_of_two_below(x):
    """1 / 2^k for normal x in [2^k, 2^(k+1)), exact."""
    return double(0x7FE0000000000000 - (bits(x) & 0x7FF0000000000000))


@njit(
    void(types.Array(float64, 1, "C")),
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath=FLAGS,
)
def exponentials(z):
    """z = e^z. Give it whole tiles: a remainder would be compiled otherwise."""
    for i in range(z.size):
        z[i] = exp(z[i])


@njit(
    void(types.Array(float64, 1, "C")),
    cache=True,
    nogil=True,
    error_model="numpy",
    fastmath=FLAGS,
)
def logarithms(x):
    """x = ln x, whole tiles as well."""
    for i in range(x.size):
        x[i] = log(x[i])


def fingerprint(*modules: ModuleType) -> int:
    """A number, at least 0, of the text of modules that a kernel is built from.

    Numba keeps a kernel compiled for as long as its own file and what it closes over
    stay the same; a kernel that closes over this is compiled again after an edit
    of theirs.
    """
    made = 0
    for module in modules:
        made = zlib.crc32(Path(str(module.__file__)).read_bytes(), made)
    return made

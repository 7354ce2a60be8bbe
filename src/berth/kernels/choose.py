"""What changes one row's logits, and how its token is chosen, as choose.h reads it."""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_float, c_int32, c_int64, c_void_p

# An entry's first place in the table is the top `bits` of (id * SPREAD) mod 2**32 (Knuth 6.4): ids
# of frequent tokens lie side by side, and would fill places side by side.
SPREAD = 2654435769


class Shift(ctypes.Structure):
    """`shift` of kernels.c, which says what each field means. Holds addresses, not the arrays:
    they must outlive it.
    """

    _fields_ = (
        ("slots", c_void_p),
        ("ids", c_void_p),
        ("amounts", c_void_p),
        ("bias_ids", c_void_p),
        ("biases", c_void_p),
        ("banned", c_void_p),
        ("length", c_int64),
        ("bits", c_int64),
        ("biased", c_int64),
        ("bans", c_int64),
        ("repetition", c_float),
        ("raises", c_int32),
        ("temperature", c_float),
        ("top_p", c_double),
        ("min_p", c_double),
        ("draw", c_double),
        ("top_k", c_int64),
    )

"""The random numbers of sampling: a function of (seed, output position), nothing else.

A request therefore draws the same numbers alone, in any batch, on any device, and when it is
replayed on a new engine after the old one died.
"""

from __future__ import annotations

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15


def _mix(x: int) -> int:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): 64 bits to 64 bits."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) for the token at this output position (from 0)."""
    start = _mix((seed + _GAMMA) & _MASK)
    return (_mix((start + (position + 1) * _GAMMA) & _MASK) >> 11) * 2.0**-53

"""Integers that anyone can compute again: the same on every device, machine and version.

A device's random stream may change with the next release of a library, and an index would be lost
with it. Number ``n`` of a stream here is a fixed function of a key and of ``n``, the generator
SplitMix64 [steele2014fast], in whole numbers of 64 bits.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))


def splitmix64(key: int, count: int) -> NDArray[np.uint64]:
    """The first ``count`` numbers of the stream that starts at ``key``, each below 2⁶⁴.

    Args:
        key: at least 0 and below 2⁶⁴.
        count: how many, at least 0.
    """
    numbers = np.arange(1, count + 1, dtype=np.uint64) * _STEP + np.uint64(key)
    for shift, factor in _MIX:
        numbers = (numbers ^ (numbers >> np.uint64(shift))) * np.uint64(factor)
    return numbers


def stream_key(seed: int, name: str) -> int:
    """The key of a named stream, below 2⁶⁴: the first eight bytes of a SHA-256."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "little")

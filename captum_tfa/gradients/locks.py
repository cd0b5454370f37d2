"""One thread at a time in a model: passes set attributes, and maps put hooks on layers.

Weight normalisation keeps the weight of a pass in an attribute, for one: of two passes at a time,
one would compute with the weight of the other, which belongs to the other's graph.
"""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from torch import nn

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_lock_of_locks = threading.Lock()


def model_lock(model: nn.Module) -> threading.RLock:
    """The lock of a model; the thread that holds it may take it again."""
    with _lock_of_locks:
        return _locks.setdefault(model, threading.RLock())

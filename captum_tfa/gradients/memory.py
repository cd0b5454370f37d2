"""How many examples does one pass take?  All that the package does about memory stands here.

What an example takes is read off the passes that are made anyway, so nothing is measured and no
pass is made to find out. A map begins with the gradient of its test image, which is of the training
image's size or can be scaled to it, and so even the first pass of a map takes as many as fit.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# A pass with a graph, for maps: at most so many examples, in a quarter of the memory that is free.
# On a CPU more than this is no faster.
_MOST_WITH_GRAPH = 64
_BYTES_WITH_GRAPH_ON_CPU = 2**30
# On a CPU, passes without a graph take as many examples at once as fit in so much memory, and at
# least so many: what is larger leaves the cache, and memory that is handed back to the system after
# each pass costs more to get again than large passes save.
_BYTES_WITHOUT_GRAPH_ON_CPU = 2**28
_LEAST_WITHOUT_GRAPH = 4
# Test gradients are kept, so their passes are small everywhere.
MOST_TESTS_AT_ONCE = 16
"""Test examples of one pass."""
# Activations, deltas, and the adjoints of both, for each number that goes into a layer.
_NUMBERS_KEPT = 6


class Room:
    """The memory that one example of a model takes, as far as passes have shown.

    Attributes:
        one_at_a_time: whether a batch costs a backward pass for each of its examples; ``None``
            before a batch has shown it.
    """

    def __init__(self) -> None:
        self.one_at_a_time: bool | None = None
        self._suspected = False
        self._bytes: int | None = None
        self._input_bytes = 1

    def saw(
        self, inputs: Sequence[Tensor], activations: Sequence[Tensor], shared: bool | None
    ) -> None:
        """Learn from a pass.

        Args:
            inputs: the model's inputs, each ``[B, ...]``.
            activations: what went into the layers whose parameters count.
            shared: whether examples share positions of a layer; of a single example, which shares
                nothing, whether they are likely to.
        """
        batch = len(inputs[0])
        self._bytes = 1 + _NUMBERS_KEPT * sum(map(_size, activations)) // batch
        self._input_bytes = max(1, sum(map(_size, inputs)) // batch)
        if batch > 1:
            self.one_at_a_time = shared
        else:
            self._suspected = bool(shared)

    def with_graph(self, inputs: Sequence[Tensor]) -> int:
        """How many examples like these, each ``[B, ...]``, a pass takes that is differentiated."""
        if self._bytes is None or self.one_at_a_time:
            return 1
        if self.one_at_a_time is None and self._suspected:
            return 2  # enough to show it
        return self._fitting(inputs, _free_bytes(inputs[0].device), 1, _MOST_WITH_GRAPH)

    def without_graph(self, inputs: Sequence[Tensor], most: int) -> int:
        """How many a pass takes from which nothing is kept, at most so many."""
        if inputs[0].device.type != "cpu":
            return most
        if self.one_at_a_time:
            return 1
        return self._fitting(inputs, _BYTES_WITHOUT_GRAPH_ON_CPU, _LEAST_WITHOUT_GRAPH, most)

    def parts(self, inputs: Sequence[Tensor], most: int) -> Iterator[slice]:
        """The rows of one pass without a graph after the other, about equally many each."""
        start, count = 0, len(inputs[0])
        while start < count:
            size = min(most, count - start)
            size = math.ceil(size / math.ceil(size / self.without_graph(inputs, size)))
            yield slice(start, start + size)
            start += size

    def _fitting(self, inputs: Sequence[Tensor], memory: int, least: int, most: int) -> int:
        if self._bytes is None:
            return min(least, most)
        larger = sum(map(_size, inputs)) / len(inputs[0]) / self._input_bytes
        return min(most, max(least, int(memory / (self._bytes * larger))))


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _free_bytes(device: torch.device) -> int:
    """The memory that a pass with a graph may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 4)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system tells
        free = 4 * _BYTES_WITH_GRAPH_ON_CPU
    return min(free // 4, _BYTES_WITH_GRAPH_ON_CPU)

"""The straight way from one state of a model to the next, as points of an integral."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import numpy as np
import torch
from torch import Tensor, nn


def points_between(
    model: nn.Module, before: Mapping[str, Tensor], after: Mapping[str, Tensor], count: int
) -> Generator[tuple[dict[str, Tensor], float], None, None]:
    """States on the way, each with its weight; the weights sum to 1 (Gauss and Legendre).

    Args:
        model: whose states they are. Its parameters move; its buffers are those of ``after``.
        before: where the way begins.
        after: where it ends.
        count: how many points, at least 1.
    """
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for place, weight in zip(*np.polynomial.legendre.leggauss(count), strict=True):
        part = float(place + 1) / 2
        state = {
            name: torch.lerp(before[name].to(tensor), tensor, part)
            if name in parameters
            else tensor
            for name, tensor in after.items()
        }
        yield state, float(weight) / 2

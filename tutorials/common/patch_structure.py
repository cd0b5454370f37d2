"""Does a map show the grid of patches that a network cuts its input into?

Both numbers look at saliencies ``[B, H, W]`` and a patch side that divides H and W.
"""

from __future__ import annotations

import torch
from torch import Tensor


def border_steps(saliency: Tensor, patch: int) -> Tensor:
    """How much larger are steps between neighbouring pixels at a border of patches than inside?

    The mean ``|difference|`` of neighbours in two patches over that of neighbours in one.

    Returns:
        ``[B]``; 1 if the grid leaves no trace, infinite if every patch is of one value.
    """
    at_border, inside = [], []
    for values in (saliency, saliency.transpose(1, 2)):
        steps = values.diff(dim=2).abs()
        crossing = torch.arange(1, values.shape[2]) % patch == 0
        at_border.append(steps[:, :, crossing].flatten(1))
        inside.append(steps[:, :, ~crossing].flatten(1))
    return torch.cat(at_border, 1).mean(1) / torch.cat(inside, 1).mean(1)


def repeated_share(saliency: Tensor, patch: int) -> Tensor:
    """The share of the saliency's variance that is the same pattern in every patch.

    It is the share of the spectral energy at the frequencies that are whole multiples of
    ``1 / patch`` both ways.

    Returns:
        ``[B]``, in [0, 1]. Of a map without structure, ``(patch² − 1) / (H W − 1)`` on average.
    """
    rows, columns = (size // patch for size in saliency.shape[1:])
    patches = saliency.unflatten(1, (rows, patch)).unflatten(3, (columns, patch))
    pattern = patches.mean(dim=(1, 3))  # [B, patch, patch]
    variance = pattern.flatten(1).var(1, correction=0)
    return variance / saliency.flatten(1).var(1, correction=0)

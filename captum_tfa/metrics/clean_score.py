"""Is the attribution where the signal is known to be? CleanScore [lymperopoulos2026xtrain].

It rewards silence outside the signal, however that comes about. A map that is sharpened (every
number raised to a power) knows nothing more, ranks the features as before, and scores higher: that
is `sharpened`, the control to report beside it. Nor does the score ask whether the *model* uses the
signal: a map that never saw the model can be clean.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clean_score(attributions: Tensor, region: Tensor) -> Tensor:
    """``Σ_signal |φ| / Σ |φ|``: the share of the attribution's size in the signal's region.

    Chance is the region's share of the features (`clean_score_chance`): what a map gets whose size
    does not depend on the place. Source: [lymperopoulos2026xtrain]_; *choice*: sizes, not signs.

    Args:
        attributions: ``[B, ...]``, finite.
        region: where the signal is: boolean, of the shape of the attributions, or of their last
            dimensions (``[H, W]`` for ``[B, C, H, W]``), with 1 where it is the same all along.

    Returns:
        ``[B]``, float64, in [0, 1]; chance for an attribution of zero.

    Raises:
        TypeError: a region that is not boolean.
        ValueError: shapes that do not fit, a region that is empty or all there is, an attribution
            that is not finite.
    """
    inside = _expanded(region, attributions)
    if not bool(torch.isfinite(attributions).all()):
        raise ValueError("attributions hold NaN or infinity; a share of their size means nothing.")
    size = attributions.detach().double().abs().flatten(1)
    largest = size.amax(1, keepdim=True)
    size = size / largest.where(largest > 0, torch.ones_like(largest))  # no sum overflows
    total = size.sum(1)
    share = (size * inside).sum(1) / total.where(total > 0, torch.ones_like(total))
    return share.where(total > 0, inside.double().mean(1))


def clean_score_chance(region: Tensor, attributions: Tensor) -> Tensor:
    """The region's share of the features: the CleanScore of a map that is blind to the place.

    Args:
        region: as for `clean_score`.
        attributions: likewise; only their shape counts.

    Returns:
        ``[B]``, float64.
    """
    return _expanded(region, attributions).double().mean(1)


def sharpened(attributions: Tensor, power: float = 2.0) -> Tensor:
    """A map that ranks the features by size as before, with large ones larger: ``sign φ |φ|^p``.

    The control of `clean_score`: what is measured by ranks (insertion, deletion, retraining) is the
    same, and nothing was learned about the model.

    Args:
        attributions: ``[B, ...]``.
        power: above 1 sharpens, below 1 blurs; positive.

    Raises:
        ValueError: a power that is not positive.
    """
    if not power > 0:
        raise ValueError(f"power is {power}; it must be positive, and above 1 to sharpen.")
    largest = attributions.abs().flatten(1).amax(1).clamp_min(torch.finfo(attributions.dtype).tiny)
    scaled = attributions / largest.view(-1, *[1] * (attributions.dim() - 1))
    return scaled.sign() * scaled.abs() ** power


def _expanded(region: Tensor, attributions: Tensor) -> Tensor:
    """The region for each attribution, ``[B, n]``."""
    if region.dtype != torch.bool:
        raise TypeError(f"region is of {region.dtype}; it must be boolean: pass region > 0, say.")
    if attributions.dim() < 2 or attributions.numel() == 0:
        raise ValueError(
            f"attributions are {list(attributions.shape)}; they must be [B, ...] and not empty."
        )
    try:
        inside = region.to(attributions.device).expand(attributions.shape).flatten(1)
    except RuntimeError as error:
        raise ValueError(
            f"region is {list(region.shape)} and attributions {list(attributions.shape)}; the "
            "region must have their shape, or that of their last dimensions."
        ) from error
    if not bool(inside.any(1).all()) or bool(inside.all(1).any()):
        raise ValueError(
            "region is empty, or everything; the signal must lie in a part of each map."
        )
    return inside

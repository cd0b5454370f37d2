"""How alike are two maps?

Two answers, as in [adebayo2018sanity]: the rank correlation asks whether the same pixels matter in
the same order, the structural similarity whether the two pictures look alike. `compare_maps` gives
both, and is what the randomisation tests report.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from captum_tfa.metrics.localisation import saliency

_WINDOW, _SIGMA = 11, 1.5  # of the structural similarity, in pixels
_K1, _K2 = 0.01, 0.03


@dataclass(frozen=True)
class MapSimilarity:
    """How alike maps are to their references, one number a map.

    Attributes:
        rank: Spearman's correlation of all signed values, ``[B]``, in [-1, 1].
        rank_absolute: The same of the saliencies ``sum_channels |map|``, ``[B]``: what is left
            when only the size counts.
        ssim: Structural similarity of the saliencies, each scaled to a maximum of 1, ``[B]``.
    """

    rank: Tensor
    rank_absolute: Tensor
    ssim: Tensor


def compare_maps(maps: Tensor, references: Tensor) -> MapSimilarity:
    """How alike maps are to reference maps, by three numbers.

    Args:
        maps: Attributions, ``[B, C, H, W]``, at least 11 x 11 pixels.
        references: What each is compared with, of the same shape.

    Raises:
        ValueError: Shapes that differ or are not ``[B, C, H, W]``, maps of less than 11 x 11
            pixels, or values that are not finite.
    """
    _check(maps, references, 4)
    first, second = saliency(maps.double()), saliency(references.double())
    return MapSimilarity(
        rank=spearman(maps, references),
        rank_absolute=spearman(first, second),
        ssim=ssim(_scaled(first), _scaled(second)),
    )


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation of each map with its partner.

    Pearson's correlation of the ranks of all values of a map; values that tie have the mean of
    the ranks that they take. A map whose values are all equal has no order: NaN.

    Args:
        first: ``[B, ...]``, at least two values a map.
        second: Of the same shape.

    Returns:
        ``[B]``, float64, in [-1, 1] or NaN.

    Raises:
        ValueError: Shapes that differ, fewer than two values a map, or values that are not finite.
    """
    _check(first, second, 2)
    a, b = _ranks(first.flatten(1)), _ranks(second.flatten(1))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)).sqrt()
    return correlation.clamp(-1, 1)


def ssim(first: Tensor, second: Tensor, data_range: float = 1.0) -> Tensor:
    """Mean structural similarity of each picture with its partner.

    ``mean (2 m1 m2 + c1) (2 s12 + c2) / ((m1² + m2² + c1) (s1² + s2² + c2))`` over all places,
    with means ``m``, variances ``s²`` and covariance ``s12`` under a Gaussian window of 11 x 11
    pixels and 1.5 pixels deviation that lies wholly inside the picture; ``c1 = (0.01 L)²``,
    ``c2 = (0.03 L)²``. Source: [wang2004image].

    Args:
        first: ``[B, H, W]``, at least 11 x 11 pixels.
        second: Of the same shape.
        data_range: ``L``, the largest possible value less the smallest. Default 1.

    Returns:
        ``[B]``, float64, at most 1.

    Raises:
        ValueError: Shapes that differ or are not ``[B, H, W]``, pictures of less than 11 x 11
            pixels, values that are not finite, or a ``data_range`` that is not positive.
    """
    _check(first, second, 3)
    if min(first.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"The pictures have {first.shape[-2]} x {first.shape[-1]} pixels; structural "
            f"similarity needs at least {_WINDOW} x {_WINDOW}: enlarge them"
        )
    if not 0 < data_range < math.inf:
        raise ValueError(
            f"data_range is {data_range}; it must be positive, e.g. 1 for values in [0, 1]"
        )
    a, b = first.double(), second.double()
    mean_a, mean_b = _windowed(a), _windowed(b)
    spread = _windowed(a * a) - mean_a**2 + _windowed(b * b) - mean_b**2
    together = _windowed(a * b) - mean_a * mean_b
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    places = (2 * mean_a * mean_b + c1) * (2 * together + c2)
    places = places / ((mean_a**2 + mean_b**2 + c1) * (spread + c2))
    return places.mean(dim=(-2, -1))


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 0 along the last dimension, the mean rank where values tie."""
    values = values.contiguous()
    ordered = values.sort(dim=-1).values
    below = torch.searchsorted(ordered, values)
    up_to = torch.searchsorted(ordered, values, right=True)
    return (below + up_to - 1).double() / 2


def _windowed(pictures: Tensor) -> Tensor:
    """Means ``[B, H - 10, W - 10]`` of ``[B, H, W]`` under the Gaussian window."""
    offsets = torch.arange(_WINDOW, dtype=torch.double, device=pictures.device) - _WINDOW // 2
    weights = torch.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    down = functional.conv2d(pictures.unsqueeze(1), weights.view(1, 1, -1, 1))
    return functional.conv2d(down, weights.view(1, 1, 1, -1)).squeeze(1)


def _scaled(saliencies: Tensor) -> Tensor:
    """Each picture divided by its largest value; one of zeros stays so."""
    largest = saliencies.amax(dim=(-2, -1), keepdim=True)
    return saliencies / torch.where(largest > 0, largest, 1)


def _check(first: Tensor, second: Tensor, dimensions: int) -> None:
    fits = first.dim() >= 2 if dimensions == 2 else first.dim() == dimensions
    if first.shape != second.shape or not fits:
        wanted = {2: "[B, ...]", 3: "[B, H, W]", 4: "[B, C, H, W]"}[dimensions]
        raise ValueError(
            f"The two sides have the shapes {list(first.shape)} and {list(second.shape)}; both "
            f"must be the same {wanted}"
        )
    if first[:1].numel() < 2 and len(first):
        raise ValueError(
            f"The two sides have the shape {list(first.shape)}, one value a map; "
            "to compare an order takes at least two"
        )
    if not (torch.isfinite(first).all() and torch.isfinite(second).all()):
        raise ValueError("A map holds NaN or infinity; look where it comes from before comparing")

"""Does a map point at the place that we know to matter?

A planted patch, or an object with a known outline, gives the answer to compare with: a good
map has its most salient pixels there. `share_of_top_inside` is the patch attribution
fraction of [bacha2025training] (appendix D.3). `share_of_positive_inside` counts all of the map,
not its top only, and heeds the sign.
"""

from __future__ import annotations

import torch
from torch import Tensor


def saliency(maps: Tensor) -> Tensor:
    """How much each pixel matters, whatever the sign: ``sum_channels |map|``.

    Args:
        maps: Attributions, ``[..., C, H, W]``.

    Returns:
        ``[..., H, W]``, at least 0.

    Raises:
        ValueError: ``maps`` has fewer than three dimensions.
    """
    if maps.dim() < 3:
        raise ValueError(
            f"maps has the shape {list(maps.shape)}; it must be [..., C, H, W]: "
            "add a channel dimension with .unsqueeze(-3)"
        )
    return maps.abs().sum(dim=-3)


def share_of_top_inside(maps: Tensor, region: Tensor, fraction: float = 0.1) -> Tensor:
    """The share of a map's most salient pixels that lies inside a region.

    The top is ``max(1, round(fraction * H * W))`` pixels by `saliency`. Where pixels tie for
    the last places, each of them counts for the same part of a place: the result is the mean
    over all ways to break the tie, so it needs no random numbers and favours no corner. A map
    of zeros therefore gives exactly the region's share of the area, which is chance level.

    A region smaller than the top cannot reach 1: at most ``region pixels / top pixels``.

    Args:
        maps: Attributions, ``[C, H, W]`` or ``[B, C, H, W]``; finite.
        region: Where the answer is known to lie: boolean, ``[H, W]``, or ``[B, H, W]`` with
            one region a map.
        fraction: How much of the picture is "the top", in (0, 1]. Default 0.1.

    Returns:
        Shares in [0, 1], float64: a scalar tensor for ``[C, H, W]``, else ``[B]``.

    Raises:
        ValueError: Shapes that do not fit each other, a region that is not boolean, a map
            that is not finite, or a fraction outside (0, 1].
    """
    _check(maps, region)
    if not 0 < fraction <= 1:
        raise ValueError(
            f"fraction is {fraction}; it must lie in (0, 1], e.g. 0.1 for the top 10 %"
        )
    values = saliency(maps).double().flatten(-2)  # [..., H*W]
    inside = region.to(values.device).flatten(-2).expand_as(values)
    pixels = values.shape[-1]
    top = max(1, int(fraction * pixels + 0.5))

    last = values.topk(top, dim=-1).values[..., -1:]  # the value that is last to enter the top
    above, tied = values > last, values == last
    places_left = top - above.sum(-1)
    part = places_left.double() / tied.sum(-1).double()  # of a place, for each tied pixel
    hits = (above & inside).sum(-1) + part * (tied & inside).sum(-1)
    return hits / top


def share_of_positive_inside(maps: Tensor, region: Tensor) -> Tensor:
    """The share of a map's positive mass that lies inside a region.

    A pixel's value is the sum of its channels, with their signs, and its mass is that value
    where it is positive, else 0. A map without positive mass gives the region's share of the
    area, which is chance level. Signs count, so ask the right question:

    - ``maps`` of gradient × (input − baseline): what speaks for the score;
    - ``-maps``: what speaks against it, as for an opponent;
    - ``maps.abs()``: the mass of `saliency`, for maps whose sign says nothing.

    Args:
        maps: Attributions, ``[C, H, W]`` or ``[B, C, H, W]``; finite.
        region: Where the answer is known to lie: boolean, ``[H, W]``, or ``[B, H, W]`` with
            one region a map.

    Returns:
        Shares in [0, 1], float64: a scalar tensor for ``[C, H, W]``, else ``[B]``.

    Raises:
        ValueError: Shapes that do not fit each other, a region that is not boolean, or a map
            that is not finite.
    """
    _check(maps, region)
    mass = positive_mass(maps)
    inside = region.to(mass.device).expand_as(mass)
    total = mass.sum((-2, -1))
    area = inside.double().mean((-2, -1))
    return torch.where(total > 0, (mass * inside).sum((-2, -1)) / total, area)


def positive_mass(maps: Tensor) -> Tensor:
    """What of each pixel speaks for the score: ``max(0, sum_channels map)``, float64.

    Args:
        maps: Attributions, ``[..., C, H, W]``.

    Returns:
        ``[..., H, W]``, at least 0.
    """
    return maps.double().sum(dim=-3).clamp_min(0)


def _check(maps: Tensor, region: Tensor) -> None:
    if maps.dim() not in (3, 4):
        raise ValueError(
            f"maps has the shape {list(maps.shape)}; it must be [C, H, W] or [B, C, H, W]"
        )
    if region.dtype != torch.bool:
        raise ValueError(
            f"region has the dtype {region.dtype}; it must be boolean: pass region > 0, say"
        )
    wanted = [list(maps.shape[-2:])]
    if maps.dim() == 4:
        wanted.append([maps.shape[0], *maps.shape[-2:]])
    if list(region.shape) not in wanted:
        raise ValueError(
            f"region has the shape {list(region.shape)}, maps {list(maps.shape)}; "
            f"region must be {' or '.join(map(str, wanted))}"
        )
    if not torch.isfinite(maps).all():
        raise ValueError("maps holds NaN or infinity; a share of its mass means nothing")

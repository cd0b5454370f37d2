"""Which part of an image counts as its top, and how the rest is filled.

To ask whether a map is right, one keeps (or removes) the part that it calls important and looks
at what becomes of the image's influence. Single pixels are the finest part, but scattered pixels
look like no image; square blocks keep small contiguous pieces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm


def top_mask(saliency: Tensor, fraction: float, block: int = 1, seed: int = 0) -> Tensor:
    """The most salient part of each image, always the same number of cells.

    A cell is ``block x block`` pixels and counts by its mean saliency. The mask has exactly
    ``round(fraction * cells)`` cells an image (halves rounded up). Of tied cells the first in a
    random order win, so that no corner is favoured; the seed gives one order for all images, and
    so an image's mask does not depend on the others. With one seed the mask of a smaller fraction
    lies inside that of a larger one.

    Args:
        saliency: How much each pixel matters, ``[B, H, W]``; finite.
        fraction: The part of the cells, in [0, 1].
        block: Side of a cell in pixels, at least 1; H and W must be multiples of it. Default 1.
        seed: Seed of the order of tied cells.

    Returns:
        ``[B, H, W]``, boolean, on the device of ``saliency``.

    Raises:
        ValueError: A saliency that is not finite or not ``[B, H, W]``, a fraction outside
            [0, 1], or a block that does not divide H and W.
    """
    _check(saliency, fraction, block)
    means = nn.functional.avg_pool2d(saliency.detach().double().unsqueeze(1), block)
    batch, _, rows, columns = means.shape
    cells = means.view(batch, -1)
    # Drawn on the CPU, where a seed means the same numbers on every machine.
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(cells.shape[1], generator=generator).to(cells.device)
    falling = cells[:, shuffled].argsort(dim=1, descending=True, stable=True)
    top = shuffled[falling[:, : int(fraction * cells.shape[1] + 0.5)]]
    mask = torch.zeros_like(cells, dtype=torch.bool).scatter_(1, top, True)
    mask = mask.view(batch, rows, columns)
    return mask.repeat_interleave(block, 1).repeat_interleave(block, 2)


def mean_colour(dataset: Dataset[Any] | Tensor, show_progress: bool = False) -> Tensor:
    """The mean of each channel over all pixels of all images: the least telling fill.

    Args:
        dataset: Images ``[N, C, H, W]``, or a map-style data set of ``(image [C, H, W], label)``
            whose images may differ in size. Floating point, as the model takes them.
        show_progress: Show a progress bar over the data set.

    Returns:
        ``[C]``, in the type and on the device of the images.

    Raises:
        TypeError: Images that are not floating point tensors.
        ValueError: No image, or a tensor that is not ``[N, C, H, W]``.
    """
    if isinstance(dataset, Tensor):
        if dataset.dim() != 4 or len(dataset) == 0:
            raise ValueError(
                f"images have the shape {list(dataset.shape)}; give [N, C, H, W] with N at least 1"
            )
        images, count = iter(dataset), len(dataset)
    else:
        count = len(dataset)  # type: ignore[arg-type]
        images = (dataset[index][0] for index in range(count))
    total: Tensor | None = None
    pixels = 0
    for image in tqdm(images, "mean colour", count, unit="image", disable=not show_progress):
        if not isinstance(image, Tensor) or not image.is_floating_point():
            found = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(
                f"an image is {found}; the mean colour needs the floating point tensors that the "
                "model takes: apply the data set's transform"
            )
        part = image.double().sum(dim=(1, 2))
        total = part if total is None else total + part
        pixels += image[0].numel()
        dtype = image.dtype
    if total is None:
        raise ValueError("the data set is empty; a mean colour needs at least one image")
    return (total / pixels).to(dtype)


def masked(images: Tensor, keep: Tensor, baseline: Tensor) -> Tensor:
    """Images of which only a part is left; the rest is the baseline.

    Args:
        images: ``[B, C, H, W]``.
        keep: Which pixels stay, boolean ``[B, H, W]``.
        baseline: What the others become: one colour ``[C]`` (see `mean_colour`), or an image,
            ``[C, H, W]`` or ``[B, C, H, W]``.

    Returns:
        ``[B, C, H, W]``.

    Raises:
        ValueError: Shapes that do not fit each other, or a ``keep`` that is not boolean.
    """
    if images.dim() != 4:
        raise ValueError(f"images have the shape {list(images.shape)}; give [B, C, H, W]")
    batch, channels, height, width = images.shape
    if keep.dtype != torch.bool or list(keep.shape) != [batch, height, width]:
        raise ValueError(
            f"keep is {keep.dtype} of the shape {list(keep.shape)} for images "
            f"{list(images.shape)}; it must be boolean, {[batch, height, width]}"
        )
    fills = ([channels], [channels, height, width], [batch, channels, height, width])
    if list(baseline.shape) not in fills:
        raise ValueError(
            f"baseline has the shape {list(baseline.shape)} for images {list(images.shape)}; "
            f"it must be {fills[0]} (a colour), {fills[1]} or {fills[2]}"
        )
    fill = baseline.to(images)
    if fill.dim() == 1:
        fill = fill.view(-1, 1, 1)
    return torch.where(keep.to(images.device).unsqueeze(1), images, fill)


def _check(saliency: Tensor, fraction: float, block: int) -> None:
    if saliency.dim() != 3:
        raise ValueError(
            f"saliency has the shape {list(saliency.shape)}; it must be [B, H, W]: one number a "
            "pixel, e.g. maps.sum(1)"
        )
    if not bool(torch.isfinite(saliency).all()):
        raise ValueError("saliency holds NaN or infinity; pixels cannot be ranked by that")
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; it must lie in [0, 1], e.g. 0.1 for 10 %")
    height, width = saliency.shape[1:]
    if block < 1 or height % block or width % block:
        raise ValueError(
            f"block is {block} for images of {height} x {width} pixels; it must be a whole number, "
            "at least 1, that divides both sides"
        )

"""Does a map fit the outline of the object?

A segmentation mask says of every pixel whether it belongs to the object that the asked class
names. `segmentation_overlap` compares maps with such masks; `voc_segmentation` reads those of
Pascal VOC [everingham2015pascal] with torchvision's own loader, `object_mask` and `void_mask` take
from them what the comparison needs.

An object's outline is not a training image's "true" explanation: a model may rightly use what
surrounds the object. The numbers say where a map lies, against chance and against other maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.datasets import VOCSegmentation
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as pictures

from captum_tfa.metrics.localisation import share_of_positive_inside

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
"""VOC's classes; a mask writes the class ``VOC_CLASSES[i]`` as ``i + 1`` and background as 0."""

_VOID = 255  # VOC: the rim of objects, and what is too hard to tell


@dataclass(frozen=True)
class SegmentationOverlap:
    """How well maps fit masks; one value a map, float64, ``[B]``.

    Attributes:
        iou: Intersection over union of the mask and as many of the highest pixels as the mask
            has, in [0, 1]. 1 means that every pixel of the object is above every other.
        average_precision: Area under the precision-recall curve of the pixels ranked by the map,
            in (0, 1]. A map that says nothing gets about ``chance``.
        share: Of the positive mass inside the mask, in [0, 1] (see `share_of_positive_inside`).
        chance: The mask's share of the area that counts.
    """

    iou: Tensor
    average_precision: Tensor
    share: Tensor
    chance: Tensor


def segmentation_overlap(
    maps: Tensor, masks: Tensor, void: Tensor | None = None
) -> SegmentationOverlap:
    """Compares maps with masks of the object.

    A pixel is ranked by the sum of its channels, with their signs. For a map whose sign says
    nothing pass ``maps.abs()``, which ranks by `saliency`. Of tied pixels each counts for the
    same part of a place: a flat map gets exactly ``chance`` as average precision and share.

    Args:
        maps: Attributions, ``[B, C, H, W]``; finite.
        masks: Pixels of the object, boolean, ``[B, H, W]``; at least one a map.
        void: Pixels that count neither as object nor as background, boolean, ``[B, H, W]``.
            Default: none.

    Returns:
        A `SegmentationOverlap`.

    Raises:
        ValueError: Shapes that do not fit, masks or void that are not boolean, a map that is
            not finite, or a mask without a pixel outside void.
    """
    wanted = [len(maps), *maps.shape[-2:]]
    void = torch.zeros_like(masks, dtype=torch.bool) if void is None else void
    for name, given in (("masks", masks), ("void", void)):
        if maps.dim() != 4 or given.dtype != torch.bool or list(given.shape) != wanted:
            raise ValueError(
                f"{name} is {given.dtype} of the shape {list(given.shape)} for maps "
                f"{list(maps.shape)}; maps must be [B, C, H, W], and {name} boolean [B, H, W]"
            )
    if not torch.isfinite(maps).all():
        raise ValueError("maps holds NaN or infinity; pixels cannot be ranked by that")
    found = []
    for index in range(len(maps)):
        counts = ~void[index].to(maps.device)
        inside = masks[index].to(maps.device)[counts]
        if not inside.any():
            raise ValueError(
                f"mask {index} has no pixel that counts; leave out maps without an object"
            )
        values = maps[index][:, counts]  # [C, pixels]
        share = share_of_positive_inside(values.unsqueeze(1), inside.unsqueeze(0))
        hits, places = _hits(values.double().sum(0), inside)
        iou, precision = _iou_and_precision(hits, places, int(inside.sum()))
        found.append([iou, precision, float(share), float(inside.double().mean())])
    columns = torch.tensor(found, dtype=torch.double).view(-1, 4).unbind(1)
    return SegmentationOverlap(*columns)


def _hits(values: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Object's pixels, and all pixels, at or above each value that occurs, from the top down."""
    _, group = values.unique(return_inverse=True)  # rising
    groups = int(group.max()) + 1
    hits = torch.bincount(group[inside], minlength=groups).flip(0).cumsum(0)
    return hits.double(), torch.bincount(group, minlength=groups).flip(0).cumsum(0).double()


def _iou_and_precision(hits: Tensor, places: Tensor, size: int) -> tuple[float, float]:
    gained = hits.diff(prepend=hits.new_zeros(1))
    precision = float((hits / places * gained).sum() / size)
    # Where the last place falls among tied pixels, each of them has the same part of it.
    last = int((places >= size).nonzero()[0])
    hits_above, places_above = (hits[last - 1], places[last - 1]) if last else (0.0, 0.0)
    part = (size - places_above) / (places[last] - places_above)
    common = float(hits_above + part * gained[last])
    return common / (2 * size - common), precision


def voc_segmentation(
    root: str | Path,
    image_set: str = "val",
    year: str = "2012",
    side: int = 224,
    download: bool = False,
) -> VOCSegmentation:
    """Pascal VOC images with their masks, both cut to the same square.

    torchvision's ``VOCSegmentation``: the shorter side is brought to ``side`` pixels and the
    middle is kept, the mask without mixing its class numbers.

    Args:
        root: The folder that holds (or gets) ``VOCdevkit``.
        image_set: "train", "val" or "trainval".
        year: "2007" to "2012".
        side: Of the square, in pixels.
        download: Download the data, 2 GB for 2012, if they are not there.

    Returns:
        A map-style dataset of ``(image [3, side, side] in [0, 1], classes [side, side])``;
        classes are int64: 0 background, 1 to 20 objects, 255 void. Normalise the image as the
        model wants it.

    Raises:
        RuntimeError: The data are not there; pass ``download=True``.
    """

    def cut(image: Image, mask: Image) -> tuple[Tensor, Tensor]:
        image = pictures.center_crop(pictures.resize(image, [side]), [side])
        small = pictures.resize(mask, [side], InterpolationMode.NEAREST)
        classes = pictures.pil_to_tensor(pictures.center_crop(small, [side]))
        return pictures.to_tensor(image), classes[0].long()

    return VOCSegmentation(str(root), year, image_set, download, transforms=cut)


def object_mask(classes: Tensor, label: int) -> Tensor:
    """Where a VOC mask shows a class: boolean, the shape of ``classes``.

    Args:
        classes: From `voc_segmentation`, ``[..., H, W]``.
        label: An index into ``VOC_CLASSES``, 0 to 19: background is no class.

    Raises:
        ValueError: A label that is none.
    """
    if not 0 <= label < len(VOC_CLASSES):
        raise ValueError(
            f"label is {label}; it must be an index into VOC_CLASSES, 0 to {len(VOC_CLASSES) - 1}"
        )
    return classes == label + 1


def void_mask(classes: Tensor) -> Tensor:
    """Where a VOC mask leaves open what is there: boolean, the shape of ``classes``."""
    return classes == _VOID


def shown_classes(classes: Tensor) -> list[int]:
    """The classes that a VOC mask shows, rising: indices into ``VOC_CLASSES``."""
    numbers: list[int] = classes.unique().tolist()
    return [number - 1 for number in numbers if number not in (0, _VOID)]

"""Pascal VOC for a multi-label network: images with the classes that they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torchvision.datasets import VOCDetection
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from captum_tfa.metrics.segmentation import VOC_CLASSES
from common.data import IMAGENET_MEAN, IMAGENET_STD


def voc_labels(root: str | Path, image_set: str, side: int = 224) -> VOCDetection:
    """torchvision's ``VOCDetection``, downloaded if it is absent (2 GB), with multi-hot labels.

    Args:
        root: Holds (or gets) ``VOCdevkit``.
        image_set: "train" or "val".
        side: Of the square in the middle that is kept, in pixels.

    Returns:
        A map-style dataset of ``(image [3, side, side] normalised as for ImageNet, label [20])``.
    """
    prepare = Compose(
        [Resize(side), CenterCrop(side), ToTensor(), Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    )

    def both(image: Image, annotation: dict[str, Any]) -> tuple[Tensor, Tensor]:
        label = torch.zeros(len(VOC_CLASSES))
        for thing in annotation["annotation"]["object"]:
            label[VOC_CLASSES.index(thing["name"])] = 1
        return prepare(image), label

    absent = not (Path(root) / "VOCdevkit").is_dir()
    return VOCDetection(str(root), image_set=image_set, download=absent, transforms=both)

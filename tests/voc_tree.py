"""A few pictures in the folder structure of Pascal VOC, for torchvision's own loaders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captum_tfa.metrics.segmentation import VOC_CLASSES


def make_voc(root: Path, splits: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Writes ``root/VOCdevkit/VOC2012`` and returns ``root``.

    Args:
        root: An existing folder.
        splits: For each image set its pictures: name -> mask ``[H, W]`` of class numbers as VOC
            writes them. A picture's colour at a pixel depends on the class there, with noise.
    """
    base = root / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "Annotations", "ImageSets/Segmentation",
                   "ImageSets/Main"):  # fmt: skip
        (base / folder).mkdir(parents=True, exist_ok=True)
    colours = torch.outer(torch.arange(256), torch.tensor([37, 91, 151])) % 255 / 255
    for split, pictures in splits.items():
        for folder in ("Segmentation", "Main"):
            (base / "ImageSets" / folder / f"{split}.txt").write_text("\n".join(pictures) + "\n")
        for name, mask in pictures.items():
            image = (colours[mask] + 0.1 * torch.randn(*mask.shape, 3)).clamp(0, 1) * 255
            Image.fromarray(image.byte().numpy()).save(base / "JPEGImages" / f"{name}.jpg")
            palette = Image.fromarray(mask.byte().numpy(), mode="P")
            palette.putpalette(np.arange(768, dtype=np.uint8).tobytes())
            palette.save(base / "SegmentationClass" / f"{name}.png")
            _annotate(base / "Annotations" / f"{name}.xml", mask)
    return root


def _annotate(path: Path, mask: Tensor) -> None:
    height, width = mask.shape
    objects = []
    for number in mask.unique().tolist():
        if number in (0, 255):
            continue
        rows, columns = (mask == number).nonzero().T
        objects.append(
            f"<object><name>{VOC_CLASSES[number - 1]}</name><difficult>0</difficult><bndbox>"
            f"<xmin>{columns.min() + 1}</xmin><ymin>{rows.min() + 1}</ymin>"
            f"<xmax>{columns.max() + 1}</xmax><ymax>{rows.max() + 1}</ymax></bndbox></object>"
        )
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    path.write_text(f"<annotation>{size}{''.join(objects)}</annotation>")

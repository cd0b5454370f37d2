"""Pictures and maps as text, to stand in a page that needs no other file."""

from __future__ import annotations

import base64
import io
from typing import TypedDict

import numpy as np
from PIL import Image, features
from torch import Tensor
from torch.nn.functional import interpolate

from captum_tfa.report.heat import relative_mean
from captum_tfa.report.methods import Method

MOST_PIXELS = 448
"""Longest side of a picture in a page; larger ones are made smaller."""

MOST_PLACES = 224
"""Longest side of a map in a page, likewise: a page tells the mean of the pixels there."""

_LOSSLESS = 128  # up to this side every pixel of a picture is kept as it is
_STEPS = 32767  # of 16 bits with a sign


class PackedMap(TypedDict):
    """A map for the page's script.

    Attributes:
        width: In places.
        height: In places.
        step: What a step of the numbers stands for, in the method's own unit.
        mean: The mean of what the heat map shows, which is the unit of its colours; > 0.
        numbers: Rows of whole numbers of 16 bits, lowest byte first, in base64.
    """

    width: int
    height: int
    step: float
    mean: float
    numbers: str


def picture(image: Tensor) -> str:
    """A picture ``[C, H, W]`` in [0, 1] as a ``data:`` address."""
    if len(image) != 3:
        image = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()
    shown = Image.fromarray(pixels, "RGB")
    small = max(shown.size) <= _LOSSLESS
    shown.thumbnail((MOST_PIXELS, MOST_PIXELS))
    kind = "PNG" if small or not features.check("webp") else "WEBP"
    file = io.BytesIO()
    shown.save(file, kind, **({"optimize": True} if kind == "PNG" else {"quality": 90}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def packed(method: Method, map: Tensor, score: float) -> PackedMap:
    """A map ``[C, H, W]`` of a training image of this score, exact to 1 in 32,767 of its largest.

    What is packed is one number a place, `Method.values`.
    """
    mean = relative_mean(method.heat(map.double(), score))
    values = method.values(map.double())
    scale = MOST_PLACES / max(values.shape)
    if scale < 1:
        size = [max(1, round(side * scale)) for side in values.shape]
        values = interpolate(values[None, None], size, mode="area")[0, 0]
    most = float(values.abs().max())
    step = most / _STEPS if most > 0 else 1.0
    numbers = (values / step).round().numpy().astype(np.dtype("<i2"))
    return {
        "width": values.shape[1],
        "height": values.shape[0],
        "step": step,
        "mean": mean,
        "numbers": base64.b64encode(numbers.tobytes()).decode(),
    }


def is_reduced(image: Tensor) -> bool:
    """Whether a page shows a picture ``[C, H, W]``, or a map of it, smaller than it is."""
    return max(image.shape[-2:]) > MOST_PLACES

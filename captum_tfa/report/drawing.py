"""What the figures of this folder draw with: colours, pictures, frames and short names."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

PROPONENT = "#1b6ca8"
OPPONENT = "#b3401f"
INK = "#222222"
QUIET = "#666666"


def show_picture(axes: Axes, image: Tensor) -> None:
    """The picture itself, pixel by pixel."""
    axes.imshow(rgb(image), interpolation="nearest")


def rgb(image: Tensor) -> NDArray[np.float32]:
    """``[H, W, 3]`` of a picture with three channels; of any other number, their mean in grey."""
    if len(image) != 3:
        image = image.mean(dim=0, keepdim=True).expand(3, -1, -1)
    pixels: NDArray[np.float32] = image.permute(1, 2, 0).float().numpy()
    return pixels


def frame(axes: Axes, colour: str) -> None:
    """A frame of one colour, without ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color=colour, linewidth=1.0)


def short(text: str, most: int = 24) -> str:
    """``text``, cut in the middle if it is too long for its place; never read as mathematics."""
    if len(text) > most:
        text = f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
    return text.replace("$", r"\$")

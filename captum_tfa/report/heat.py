"""How a map is shown, in the figure and in the report alike: its unit, its scale, its colours.

A heat map lays what `Method.heat` gives over the picture, in multiples of its own mean: how many
times as much as the average pixel of its image does this pixel matter? In these units one colour
scale serves all maps of a method.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from numpy.typing import NDArray
from torch import Tensor

from captum_tfa.report.explanation import Explanation, TrainingExample
from captum_tfa.report.methods import Method


def heats(
    explanation: Explanation, example: TrainingExample, method: Method | None = None
) -> tuple[Tensor, Tensor]:
    """The heat of the training image and of the test image, ``[H, W]``, in multiples of its mean.

    A heat of zeros stays zeros. ``method`` is one of `Explanation.maps`; None: the first.
    """
    method = method or explanation.method
    of_train, of_test = (
        method.heat(map.double(), example.score) for map in explanation.maps(example)[method]
    )
    return of_train / relative_mean(of_train), of_test / relative_mean(of_test)


def relative_mean(heat: Tensor) -> float:
    """The mean of a heat, which is its unit; 1 if there is none."""
    mean = float(heat.mean())
    return mean if mean > 0 else 1.0


def common_top(heats: Sequence[Tensor]) -> float:
    """The top of one scale for all: what 1 pixel in 200 of the typical heat map passes; > 0."""
    tops = [np.quantile(heat.numpy(), 0.995) for heat in heats]
    tops = [top for top in tops if top > 0]
    return float(np.median(tops)) if tops else 1.0


def _over_pictures(name: str, part: NDArray[np.float64]) -> ListedColormap:
    """Part of a colour map, transparent at 0, so that the picture shows where nothing happens."""
    colours = matplotlib.colormaps[name](part)
    colours[:, 3] = np.minimum(1, 1.5 * np.linspace(0, 1, len(part))) ** 1.3
    return ListedColormap(colours, name="captum_tfa_heat")


HEAT_COLOURS = _over_pictures("inferno", np.linspace(0.25, 1, 256))
"""What makes the score what it is, from 0 to the top of the scale."""

COLD_COLOURS = _over_pictures("GnBu_r", np.linspace(0.1, 0.9, 256))
"""What pulls the other way, likewise."""

"""The maps that `explain` can draw: for each its name, how it is made, and how it is shown.

All are of one score ``S`` of two images, with respect to one of them, ``x``. With ``G`` the mean
gradient ``dS/dx`` over noisy copies, and ``b`` an image of one colour:

- ``gradient``: ``G``, the paper's map [bacha2025training]. Where does a change matter? It is shown
  by size, whatever the sign.
- ``gradient_x_input``: ``G (x - b)``. What does each pixel contribute, by its gradient here?
- ``integrated_gradients``: the same with ``G`` the mean over the straight path from ``b`` to ``x``
  [sundararajan2017axiomatic], each point with noise of its own.
- ``occlusion``: what the score loses when a window becomes ``b`` [zeiler2014visualizing]. It has
  no noise. Of these maps it says best what the score rests on, by our own measurement.

The last three are contributions and have a sign. A contribution of the score's own sign makes the
image the proponent, or the opponent, that it is; that part is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import LayerAttribution, NoiseTunnel, Occlusion
from torch import Tensor

from captum_tfa.attr import LayerTrainingGradient, TrainingGradient
from captum_tfa.metrics import saliency

# Occlusion's window is this part of the shorter side, and moves on by half of itself.
_WINDOW = 4
_COVERED_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class Task:
    """One map to draw: of the score of two images, with respect to the first.

    Attributes:
        image: ``[1, C, H, W]``.
        label: ``[1]``.
        other: ``(image [1, C, H, W], label [1])`` with which it is scored. A constant.
        gradient: Gives ``dS/dx``, or ``dS/dA`` of a layer; its ``forward_func`` is the score.
        start: The image of one colour, ``[1, C, H, W]``.
        nt_samples: Noisy copies, or points on a path.
        spread: Standard deviation of the noise; 0 for none.
        internal_batch_size: Copies at once, or None.
    """

    image: Tensor
    label: Tensor
    other: tuple[Tensor, Tensor]
    gradient: TrainingGradient | LayerTrainingGradient
    start: Tensor
    nt_samples: int
    spread: float
    internal_batch_size: int | None

    def gradients(self, points: Tensor, copies: int) -> Tensor:
        """The gradient at each of ``points [N, C, H, W]``, the mean of so many noisy copies."""
        arguments: dict[str, Any] = {
            "target": self.label.expand(len(points)),
            "additional_forward_args": self.other,
            "internal_batch_size": self.internal_batch_size,
        }
        if self.spread > 0:
            found = NoiseTunnel(self.gradient).attribute(
                points, nt_type="smoothgrad", nt_samples=copies, stdevs=self.spread, **arguments
            )
        else:
            found = self.gradient.attribute(points, **arguments)
        gradients: Tensor = found
        return gradients


@dataclass(frozen=True)
class Method:
    """A map by its name.

    Attributes:
        name: What the user calls it.
        formula: What it computes, in a few words.
        signed: Whether it consists of contributions, whose sign means for or against.
        legend: What a heat map of it shows of a pixel.
        draw: Makes it, ``[1, C, H, W]``; ``[1, 1, H, W]`` of a layer.
    """

    name: str
    formula: str
    signed: bool
    legend: str
    draw: Callable[[Task], Tensor]

    def heat(self, map: Tensor, score: float) -> Tensor:
        """What a heat map shows, at least 0: one number a pixel.

        For a signed map it is the part of the channels' sum that has the score's own sign, so
        that an opponent's heat is what makes it one; otherwise the channels' sum of ``|map|``.

        Args:
            map: ``[..., C, H, W]``.
            score: Of the image with its test image; only its sign counts.

        Returns:
            ``[..., H, W]``.
        """
        if not self.signed:
            return saliency(map)
        return (map if score > 0 else -map).sum(dim=-3).clamp_min(0)


def _gradient(task: Task) -> Tensor:
    return task.gradients(task.image, task.nt_samples)


def _gradient_x_input(task: Task) -> Tensor:
    return _gradient(task) * (task.image - task.start)


def _integrated_gradients(task: Task) -> Tensor:
    """The mean over the middles of equal parts of the path, as Captum's ``riemann_middle``."""
    steps = task.nt_samples
    middles = (torch.arange(steps, device=task.image.device) + 0.5) / steps
    change = task.image - task.start
    points = task.start + middles.view(-1, 1, 1, 1).to(change) * change
    return task.gradients(points, 1).mean(dim=0, keepdim=True) * change


def _occlusion(task: Task) -> Tensor:
    """The mean, over the windows that cover a pixel, of what the score loses."""
    channels, window = task.image.shape[1], max(1, min(task.image.shape[-2:]) // _WINDOW)
    stride = max(1, window // 2)
    found: Tensor = Occlusion(task.gradient.forward_func).attribute(
        task.image,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        baselines=task.start,
        additional_forward_args=(*task.other, task.label),
        perturbations_per_eval=task.internal_batch_size or _COVERED_AT_ONCE,
    )
    return found


def _layer_gradient(task: Task) -> Tensor:
    found: Tensor = LayerAttribution.interpolate(
        _gradient(task).mean(dim=1, keepdim=True), tuple(task.image.shape[-2:]), "bilinear"
    )
    return found


_EITHER_WAY = "influence of a pixel, either way"
_TOWARDS = "contribution of a pixel in the score’s direction"

METHODS = {
    method.name: method
    for method in (
        Method("gradient", "mean dS/dx", False, _EITHER_WAY, _gradient),
        Method("gradient_x_input", "mean dS/dx * (x - b)", True, _TOWARDS, _gradient_x_input),
        Method(
            "integrated_gradients",
            "mean dS/dx on the path from b to x, * (x - b)",
            True,
            _TOWARDS,
            _integrated_gradients,
        ),
        Method("occlusion", "S(x) - S(x with a window of b)", True, _TOWARDS, _occlusion),
    )
}
"""The maps of pixels, by name."""

OF_LAYER = Method(
    "gradient", "mean dS/dA, mean over channels, upsampled", False, _EITHER_WAY, _layer_gradient
)
"""The map of a layer: the paper's (appendix D.1)."""

DEFAULT = "occlusion"
"""The map of pixels that is drawn if the user names none."""


def choose(name: str | None, of_layer: bool) -> Method:
    """The method of a name; None is the default.

    Raises:
        ValueError: There is none of this name, or none for a layer.
    """
    if name is not None and name not in METHODS:
        raise ValueError(f"method is {name!r}; it must be one of {', '.join(METHODS)}")
    if not of_layer:
        return METHODS[name or DEFAULT]
    if name not in (None, OF_LAYER.name):
        raise ValueError(
            f"method is {name!r} and layer is given; a layer's map is its gradient: "
            "leave out one of them"
        )
    return OF_LAYER

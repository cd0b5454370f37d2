"""The maps that `explain` can draw: for each its name, how it is made, and how it is shown.

All are of one score ``S`` of two images, with respect to one of them, ``x``. With ``b`` an image of
one colour:

- ``gradient``: ``dS/dx``, the mean over noisy copies: the paper's map [bacha2025training]. Where
  does a change matter? It is shown by size, whatever the sign.
- ``gradient_x_input``: ``dS/dx (x - b)``, likewise. What does each pixel contribute, by its
  gradient here?
- ``integrated_gradients``: the same with the mean gradient on the straight path from ``b`` to ``x``
  [sundararajan2017axiomatic], without noise.
- ``integrated_gradients_norm_held``: the same of the score whose norms stay what they are for this
  pair (`norm_held`): what the pixels do to the inner product of the gradients alone. Of these maps
  it tells best for which test image it was made, by our own measurement; of a well fitted image it
  says little of what the score rests on.
- ``occlusion``: what the score loses when a window becomes ``b`` [zeiler2014visualizing], without
  noise. Of these maps it says best what the score rests on, by our own measurement.

The last four are contributions and have a sign. A contribution of the score's own sign makes the
image the proponent, or the opponent, that it is; that part is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from captum.attr import Attribution, LayerAttribution
from torch import Tensor, nn

from captum_tfa.attr import (
    LayerTrainingGradient,
    SmoothGrad,
    TrainingGradient,
    TrainingGradientXInput,
    TrainingIntegratedGradients,
    TrainingOcclusion,
)
from captum_tfa.metrics import saliency
from captum_tfa.scores import Score, norm_held


@dataclass(frozen=True, eq=False)
class Task:
    """One map to draw: of the score of two images, with respect to the first.

    Attributes:
        score: Whose map.
        layer: The module of the model that is mapped, or None for the pixels.
        image: ``[1, C, H, W]``.
        label: ``[1]``.
        other: ``(image [1, C, H, W], label [1])`` with which it is scored. A constant.
        start: The image of one colour, ``[1, C, H, W]``.
        nt_samples: Noisy copies, or points on a path.
        noise_level: Standard deviation of the noise as a part of the image's max − min.
        seed: Of the noise, the same for each map: it does not depend on others.
        internal_batch_size: Copies at once, or None.
    """

    score: Score
    layer: nn.Module | None
    image: Tensor
    label: Tensor
    other: tuple[Tensor, Tensor]
    start: Tensor
    nt_samples: int
    noise_level: float
    seed: int
    internal_batch_size: int | None

    def attributed(self, method: Attribution, **arguments: Any) -> Tensor:
        """What a method says of the image."""
        found: Tensor = method.attribute(
            self.image,
            target=self.label,
            additional_forward_args=self.other,
            internal_batch_size=self.internal_batch_size,
            **arguments,
        )
        return found

    def smoothed(self, method: Attribution, **arguments: Any) -> Tensor:
        """The mean of what a method says of noisy copies of the image (SmoothGrad)."""
        return self.attributed(
            SmoothGrad(method),
            nt_samples=self.nt_samples,
            noise_level=self.noise_level,
            seed=self.seed,
            **arguments,
        )


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
        values = self.values(map)
        return (values if score > 0 else -values).clamp_min(0) if self.signed else values

    def values(self, map: Tensor) -> Tensor:
        """One number a pixel of a map ``[..., C, H, W]``: ``[..., H, W]``.

        For a signed map the sum of the channels, with its sign; otherwise that of their ``|map|``.
        """
        return map.sum(dim=-3) if self.signed else saliency(map)


def _gradient(task: Task) -> Tensor:
    return task.smoothed(TrainingGradient(task.score))


def _gradient_x_input(task: Task) -> Tensor:
    return task.smoothed(TrainingGradientXInput(task.score), baselines=task.start)


def _integrated_gradients(task: Task) -> Tensor:
    method = TrainingIntegratedGradients(task.score)
    return task.attributed(method, baselines=task.start, n_steps=task.nt_samples)


def _integrated_gradients_norm_held(task: Task) -> Tensor:
    held = norm_held(task.score, (task.image, task.label), task.other)
    return _integrated_gradients(replace(task, score=held))


def _occlusion(task: Task) -> Tensor:
    return task.attributed(TrainingOcclusion(task.score), baselines=task.start)


def _layer_gradient(task: Task) -> Tensor:
    assert task.layer is not None, "this method is chosen where there is a layer"
    gradient = task.smoothed(LayerTrainingGradient(task.score, task.layer))
    found: Tensor = LayerAttribution.interpolate(
        gradient.mean(dim=1, keepdim=True), tuple(task.image.shape[-2:]), "bilinear"
    )
    return found


_EITHER_WAY = "influence of a pixel, either way"
_TOWARDS = "contribution of a pixel in the score’s direction"

METHODS = {
    method.name: method
    for method in (
        Method("gradient", "mean dS/dx", False, _EITHER_WAY, _gradient),
        Method("gradient_x_input", "mean of dS/dx * (x - b)", True, _TOWARDS, _gradient_x_input),
        Method(
            "integrated_gradients",
            "mean dS/dx on the path from b to x, * (x - b)",
            True,
            _TOWARDS,
            _integrated_gradients,
        ),
        Method(
            "integrated_gradients_norm_held",
            "the same, with the norms of this pair",
            True,
            _TOWARDS,
            _integrated_gradients_norm_held,
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


def choose_all(names: str | Sequence[str] | None, of_layer: bool) -> tuple[Method, ...]:
    """The methods of one name or of several, in their order.

    Raises:
        ValueError: As `choose`; or no name, or one twice.
    """
    if names is None or isinstance(names, str):
        return (choose(names, of_layer),)
    given = list(names)
    if not given or len(set(given)) < len(given):
        raise ValueError(
            f"method is {given!r}; it must be one name or several different ones of "
            f"{', '.join(METHODS)}"
        )
    return tuple(choose(name, of_layer) for name in given)

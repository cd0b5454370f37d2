"""What each pixel contributes to a score on the way from an image without content.

A gradient at the image says little about a cue that the model has fitted: there the loss is flat.
The mean over the straight path from a baseline sees what the cue did before
[sundararajan2017axiomatic].
"""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from captum_tfa.attr.baselines import Baselines, like_inputs
from captum_tfa.attr.repeats import told_from_wrappers
from captum_tfa.attr.rows import rows_of
from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.gradients import outside_inference_mode
from captum_tfa.scores import Score


class TrainingIntegratedGradients(GradientAttribution):  # type: ignore[misc]
    """``(x − b) ∫₀¹ ∂S/∂x (b + t (x − b)) dt``: contributions that sum to ``S(x) − S(b)``.

    Captum's ``IntegratedGradients`` for the training image of a score, with the points at the
    middles of equal parts of the path (``riemann_middle``). Source: [sundararajan2017axiomatic]_.
    No noise is needed; with a cosine, mind what its norm adds (`InnerProduct` holds it).

    Args:
        score: any score of a trained model, in evaluation mode when maps are made.

    Raises:
        TypeError: ``score`` is none.

    Example::

        >>> tfa = TrainingIntegratedGradients(InfluenceScore(model, curvature))
        >>> tfa.attribute(train_image, mean_image, label, test_image, n_steps=20)
    """

    def __init__(self, score: Score) -> None:
        self._gradient = TrainingGradient(score)
        super().__init__(score)

    @told_from_wrappers
    @log_usage()  # type: ignore[untyped-decorator]
    @outside_inference_mode
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines = None,
        target: object = None,
        additional_forward_args: Any = None,
        n_steps: int = 50,
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Contributions of the pixels of training images.

        Args:
            inputs: training images, as in `TrainingGradient.attribute`. An input that is not
                floating point stays as it is along the path and contributes 0.
            baselines: where the path begins, such as the data set's mean colour: for each input a
                number, a tensor ``[1, ...]`` or as many rows as the input. ``None``: 0.
            target: labels of the training images, as in `TrainingGradient.attribute`; the same
                along the path. ``None``: what the model predicts for the image itself.
            additional_forward_args: the test side, likewise.
            n_steps: points on the path, at least 1. Cost grows with it; the sum comes closer.
            internal_batch_size: points worked on at once; memory grows with it. ``None``: as many
                as fit in a quarter of the free memory, at most 64.

        Returns:
            Contributions of the shape of ``inputs``, or ``[M, ...]`` for ``M`` tests of one image.

        Raises:
            TypeError: as `TrainingGradient.attribute`, and for baselines of the wrong type.
            ValueError: likewise, and for ``n_steps`` below 1.
            RuntimeError: as `TrainingGradient.attribute`.
        """
        if not hasattr(n_steps, "__index__") or n_steps < 1:
            raise ValueError(f"n_steps is {n_steps!r}; it must be a whole number, at least 1.")
        rows = rows_of(self.forward_func, inputs, target, additional_forward_args)
        starts = like_inputs(baselines, rows.train)
        found = []
        for row in range(len(rows)):
            ends = rows.part(row, row + 1).labelled(self.forward_func)
            start = [tensor[row : row + 1] for tensor in starts]
            path = zip(start, ends.train, strict=True)
            points = tuple(_middles(begin, end, n_steps) for begin, end in path)
            maps = self._gradient.of_rows(ends.at(points), internal_batch_size)
            found.append(
                [
                    map.mean(1, keepdim=True) * (end - begin)
                    for map, begin, end in zip(maps, start, ends.train, strict=True)
                ]
            )
        joined = tuple(torch.cat(parts, 1).flatten(0, 1) for parts in zip(*found, strict=True))
        return joined if isinstance(inputs, tuple | list) else joined[0]


def _middles(start: Tensor, end: Tensor, count: int) -> Tensor:
    """The middles of so many equal parts of the path from ``start [1, ...]`` to ``end``."""
    if not end.is_floating_point():
        return end.expand(count, *end.shape[1:])
    middles = (torch.arange(count, device=end.device, dtype=end.dtype) + 0.5) / count
    return start + middles.view(-1, *[1] * (end.ndim - 1)) * (end - start)

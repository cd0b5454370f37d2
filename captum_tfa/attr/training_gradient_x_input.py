"""What each pixel contributes by its gradient: the map times the distance from a baseline."""

from __future__ import annotations

from typing import Any

from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from captum_tfa.attr.baselines import Baselines, like_inputs
from captum_tfa.attr.repeats import told_from_wrappers
from captum_tfa.attr.rows import rows_of
from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.gradients import outside_inference_mode
from captum_tfa.scores import Score


class TrainingGradientXInput(GradientAttribution):  # type: ignore[misc]
    """``∂S/∂x · (x − b)``, to first order what each pixel adds to the score above its baseline.

    Captum's ``InputXGradient`` for the training image of a score, with a baseline. It has a sign.
    For smooth maps wrap it in `SmoothGrad`, which gives each noisy copy its own
    distance from the baseline.

    Args:
        score: any score of a trained model, in evaluation mode when maps are made.

    Raises:
        TypeError: ``score`` is none.
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
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Contributions of the pixels of training images.

        Args:
            inputs: training images, as in `TrainingGradient.attribute`.
            baselines: an image without content, such as the data set's mean colour: for each input
                a number, a tensor ``[1, ...]`` or as many rows as the input. ``None``: 0.
            target: labels of the training images, as in `TrainingGradient.attribute`.
            additional_forward_args: the test side, likewise.
            internal_batch_size: how many training images are worked on at once, likewise.

        Returns:
            Contributions of the shape of ``inputs``, or ``[M, ...]`` for ``M`` tests of one image.

        Raises:
            TypeError: as `TrainingGradient.attribute`, and for baselines of the wrong type;
                likewise ``ValueError`` and ``RuntimeError``.
        """
        rows = rows_of(self.forward_func, inputs, target, additional_forward_args)
        starts = like_inputs(baselines, rows.train)
        maps = self._gradient.of_rows(rows, internal_batch_size)
        found = tuple(
            (map * (tensor - start)).flatten(0, 1)
            for map, tensor, start in zip(maps, rows.train, starts, strict=True)
        )
        return found if isinstance(inputs, tuple | list) else found[0]

"""What a score loses when a window of the training image is covered [zeiler2014visualizing]."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import PerturbationAttribution
from captum.log import log_usage
from torch import Tensor

from captum_tfa.attr.baselines import Baselines, like_inputs
from captum_tfa.attr.covering import AT_ONCE, Window, lost_by_windows
from captum_tfa.attr.repeats import told_from_wrappers
from captum_tfa.attr.rows import Rows, rows_of
from captum_tfa.attr.training_gradient import checked_score
from captum_tfa.gradients import outside_inference_mode
from captum_tfa.scores import Score


class TrainingOcclusion(PerturbationAttribution):  # type: ignore[misc]
    """``S(x) − S(x with a window of b)``, the mean over the windows that cover a pixel.

    Captum's ``Occlusion`` for the training image of a score. It needs no gradient of the score and
    no noise, and takes one pass a window.

    Args:
        score: any score of a trained model, in evaluation mode when maps are made.

    Raises:
        TypeError: ``score`` is none.
    """

    def __init__(self, score: Score) -> None:
        super().__init__(checked_score(score))

    @told_from_wrappers
    @log_usage()  # type: ignore[untyped-decorator]
    @outside_inference_mode
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Baselines = None,
        target: object = None,
        additional_forward_args: Any = None,
        sliding_window_shapes: Window = None,
        strides: Window = None,
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Contributions of the windows of training images.

        Args:
            inputs: training images, as in `TrainingGradient.attribute`.
            baselines: what covers, such as the data set's mean colour: for each input a number, a
                tensor ``[1, ...]`` or as many rows as the input. ``None``: 0.
            target: labels of the training images, as in `TrainingGradient.attribute`; the same
                when a part is covered. ``None``: what the model predicts for the image itself.
            additional_forward_args: the test side, likewise.
            sliding_window_shapes: the window's shape without the batch, ``(C, h, w)``, as Captum's;
                a tuple of them for several inputs. ``None``, for one input ``[B, C, H, W]``: all
                channels, a quarter of the shorter side high and wide.
            strides: how far the window moves on, likewise. ``None``: half of the window, and the
                whole of its first dimension.
            internal_batch_size: covered images at once; memory grows with it. ``None``: 16.

        Returns:
            Contributions of the shape of ``inputs``, or ``[M, ...]`` for ``M`` tests of one image.

        Raises:
            TypeError: inputs, labels or baselines of the wrong type.
            ValueError: see `Score.forward`; no window for inputs that are not one image; a batch
                size below 1.
            RuntimeError: see `Score.forward`.
        """
        size = AT_ONCE if internal_batch_size is None else internal_batch_size
        if not hasattr(size, "__index__") or size < 1:
            raise ValueError(f"internal_batch_size is {size!r}; it must be at least 1, or None.")
        rows = rows_of(self.forward_func, inputs, target, additional_forward_args)
        starts = like_inputs(baselines, rows.train)
        found = [
            self._lost(
                one.part(row, row + 1).labelled(self.forward_func),
                tuple(start[row : row + 1] for start in starts),
                sliding_window_shapes,
                strides,
                size,
            )
            for one in rows.of_each_test()
            for row in range(len(one))
        ]
        joined = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
        return joined if isinstance(inputs, tuple | list) else joined[0]

    def _lost(
        self, row: Rows, start: tuple[Tensor, ...], windows: Window, strides: Window, size: int
    ) -> tuple[Tensor, ...]:
        """The map of one training image for one test image, ``[1, ...]`` for each input."""

        def of_part(score: Score) -> tuple[Tensor, ...]:
            own = row.of_part(score, self.forward_func)  # the test's gradient is computed once

            def scores(*train: Tensor) -> Tensor:
                return own.at(train).scores(score, train)

            return lost_by_windows(scores, row.train, start, windows, strides, size)

        return self.forward_func.over_parts(of_part)  # type: ignore[no-any-return]

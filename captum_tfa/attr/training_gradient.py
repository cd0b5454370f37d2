"""What maps on the training image have in common: the score's gradient, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from captum_tfa.attr.repeats import told_from_wrappers
from captum_tfa.attr.rows import Rows, row_chunks, rows_of
from captum_tfa.attr.second_derivatives import refuse_dead_ends, second_derivatives
from captum_tfa.gradients import outside_inference_mode
from captum_tfa.gradients.modes import in_own_precision
from captum_tfa.scores import Score


class TrainingGradient(GradientAttribution):  # type: ignore[misc]
    """The map ``M = ∂S/∂x_train`` of a score: which pixels of a training image matter.

    To first order, ``M · dx`` is what a small change ``dx`` of the training image does to its
    influence on the test image. The usual picture is ``|M|`` summed over channels, and it is
    noisy: wrap the method in `SmoothGrad`, as the paper does, or in Captum's ``NoiseTunnel``.

    Args:
        score: any score of a trained model, in evaluation mode when maps are made.

    Attributes:
        forward_func: the score, a module of its own that any Captum method can attribute.

    Raises:
        TypeError: ``score`` is none.

    Example::

        >>> tfa = TrainingGradient(InfluenceScore(model, curvature))
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    def __init__(self, score: Score) -> None:
        super().__init__(checked_score(score))

    @told_from_wrappers
    @log_usage()  # type: ignore[untyped-decorator]
    @outside_inference_mode
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: object = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Maps of training images for test images.

        Args:
            inputs: training images ``[B, ...]``; a tuple for models with several inputs.
            target: labels of the training images: integers ``[B]`` (or one number for all) for
                cross-entropy, as the loss takes them otherwise. ``None``: what the model itself
                predicts; the true labels are what one normally wants to pass.
            additional_forward_args: the test side: ``test_inputs``, or
                ``(test_inputs, test_target)``, or ``(test_inputs, test_target, train_target)``
                with the training labels here instead of in ``target``. Test images are
                ``[B, ...]``, or ``[1, ...]`` for all training images; a model with several inputs
                takes them as a tuple inside this tuple. A missing test label is what the model
                itself predicts. For one training image there may be ``M`` test images, also under
                NoiseTunnel: the maps are then ``[M, ...]`` and share most of the work.
            internal_batch_size: how many training images (noise samples, when wrapped) are
                worked on at once; memory grows with it, results do not depend on it. ``None``
                takes as many as fit in a quarter of the free memory, at most 64.

        Returns:
            Maps of the shape of ``inputs``; a tuple if ``inputs`` is one. Of several inputs those
            that are not floating point (words, class numbers) have no gradient: zeros.

        Raises:
            TypeError: inputs or labels of the wrong type; no input that is floating point.
            ValueError: see `Score.forward`; a missing test image; labels given twice; a batch size
                below 1.
            RuntimeError: see `Score.forward`; an operation of the model that cannot be
                differentiated twice.
        """
        rows = rows_of(self.forward_func, inputs, target, additional_forward_args)
        joined = tuple(map.flatten(0, 1) for map in self.of_rows(rows, internal_batch_size))
        return joined if isinstance(inputs, tuple | list) else joined[0]

    def of_rows(self, rows: Rows, internal_batch_size: int | None) -> tuple[Tensor, ...]:
        """Maps of rows of training images, each with its test side, for methods made of maps.

        Args:
            rows: what was made of an ``attribute`` call's arguments.
            internal_batch_size: as in `attribute`.

        Returns:
            For each input ``[M, B, ...]``, where ``M`` is 1 unless every row has several tests.

        Raises:
            TypeError: no input is floating point.
        """
        if not any(tensor.is_floating_point() for tensor in rows.train):
            raise TypeError(
                f"inputs is of type {rows.train[0].dtype}, which has no gradient; give floating "
                "point images, or map a layer that comes after it with a Layer... class."
            )

        def of_part(score: Score) -> tuple[Tensor, ...]:
            chunks = row_chunks(score, rows.of_part(score, self.forward_func), internal_batch_size)
            maps = [self._maps(score, chunk) for chunk in chunks]
            return tuple(torch.cat(parts, 1) for parts in zip(*maps, strict=True))

        return self.forward_func.over_parts(of_part)  # type: ignore[no-any-return]

    def _maps(self, score: Score, rows: Rows) -> tuple[Tensor, ...]:
        """Maps ``[M, B, ...]``, where ``M`` is 1 unless every row has several test images."""
        with torch.enable_grad():
            train = tuple(
                tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in rows.train
            )
            images = [tensor for tensor in train if tensor.requires_grad]
            scores = rows.scores(score, train)
            refuse_dead_ends(scores)
            of_test = scores.reshape(len(rows), -1).sum(0).unbind()
            with second_derivatives(), in_own_precision(train[0].device.type):
                maps = [
                    torch.autograd.grad(
                        total, images, retain_graph=total is not of_test[-1], allow_unused=True
                    )
                    for total in of_test
                ]
        if all(part is None for parts in maps for part in parts):
            raise RuntimeError(
                "The score does not depend on the training image: the model computes its "
                "features under torch.no_grad() or detaches them. Let gradients through."
            )
        found = zip(*maps, strict=True)
        return tuple(
            _stacked(next(found), tensor)
            if tensor.requires_grad
            else images[0].new_zeros(len(maps), *tensor.shape)
            for tensor in train
        )


def checked_score(score: object) -> Score:
    """The score that it must be.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(score, Score):
        raise TypeError(
            f"score is a {type(score).__name__}; give a score such as GradCosScore(model)."
        )
    return score


def _stacked(parts: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """The maps of one input for several tests, ``[M, B, ...]``; zeros where it has no part."""
    return torch.stack(
        [torch.zeros_like(like) if part is None else part for part in parts]
    ).detach()

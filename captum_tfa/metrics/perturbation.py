"""Does a map find the pixels that give a training image its influence?

Insertion [bacha2025training] (section 4.3): keep only the most salient part of the training
image, and see whether more influence is left than with the same amount of a control. Deletion:
remove that part, and see whether less is left. Always pair by pair against the control.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.metrics.controls import random_saliency
from captum_tfa.metrics.masked_influence import FRACTIONS, MaskedInfluence, masked_influence
from captum_tfa.metrics.paired import PairedDifference, paired_difference
from captum_tfa.scores import Score


@dataclass(frozen=True)
class PerturbationTest:
    """A map against a control on the same pairs.

    Gaps are ``map − control``. For an opponent (its whole image scores below 0) both sides are
    negated first, so a gap always speaks of the influence that the image has. A good map has, at
    insertion, loss gaps below 0 and score gaps above 0; at deletion the other way round. ``won``
    counts the pairs in which the map is on its good side.

    Attributes:
        of_map: What is left of the influence when the map chooses.
        of_control: What is left when the control chooses.

    Raises:
        ValueError: The two were not measured in the same way on the same pairs.
    """

    of_map: MaskedInfluence
    of_control: MaskedInfluence

    def __post_init__(self) -> None:
        """Refuses two sides of different experiments."""
        ours, control = self.of_map, self.of_control
        if (ours.fractions, ours.removed) != (control.fractions, control.removed) or not (
            torch.equal(ours.whole_scores, control.whole_scores)
        ):
            raise ValueError(
                "the map and the control were measured on other pairs or other fractions, or one "
                "by keeping and the other by removing; measure both in the same way"
            )

    def loss_gap(self, index: int) -> PairedDifference:
        """The gap of the loss changes at ``fractions[index]``.

        Raises:
            ValueError: No step was taken.
        """
        ours, control = self._loss_changes()
        return self._gap(ours[index], control[index], lower_is_better=not self.of_map.removed)

    def loss_area(self) -> PairedDifference:
        """The gap of the areas under the curves of loss changes, see `area_under_curve`.

        Raises:
            ValueError: No step was taken, or there is only one fraction.
        """
        ours, control = (
            area_under_curve(self.of_map.fractions, side) for side in self._loss_changes()
        )
        return self._gap(ours, control, lower_is_better=not self.of_map.removed)

    def score_gap(self, index: int) -> PairedDifference:
        """The gap of the scores at ``fractions[index]``."""
        ours, control = self.of_map.scores, self.of_control.scores
        return self._gap(ours[index], control[index], lower_is_better=self.of_map.removed)

    def score_area(self) -> PairedDifference:
        """The gap of the areas under the curves of scores, see `area_under_curve`.

        Raises:
            ValueError: There is only one fraction.
        """
        sides = (self.of_map.scores, self.of_control.scores)
        ours, control = (area_under_curve(self.of_map.fractions, side) for side in sides)
        return self._gap(ours, control, lower_is_better=self.of_map.removed)

    def _loss_changes(self) -> tuple[Tensor, Tensor]:
        ours, control = self.of_map.loss_changes, self.of_control.loss_changes
        if ours is None or control is None:
            raise ValueError(
                "no SGD step was taken, so there are no loss changes; measure with a step_size"
            )
        return ours, control

    def _gap(self, ours: Tensor, control: Tensor, lower_is_better: bool) -> PairedDifference:
        sign = self.of_map.whole_scores.sign()
        return paired_difference(sign * ours, sign * control, lower_is_better)


def area_under_curve(fractions: Sequence[float], values: Tensor) -> Tensor:
    """The area under each pair's curve, by trapezoids, over the width: a mean height.

    Args:
        fractions: ``F`` places, rising, at least two.
        values: ``[F, P]``.

    Returns:
        ``[P]``.

    Raises:
        ValueError: Fewer than two places, or as many rows of values as places are not there.
    """
    if len(fractions) < 2 or len(values) != len(fractions):
        raise ValueError(
            f"there are {len(fractions)} fractions and {len(values)} rows of values; an area "
            "needs at least 2 fractions, and one row of values for each"
        )
    places = torch.tensor(list(fractions), dtype=values.dtype, device=values.device)
    return torch.trapezoid(values, places, dim=0) / (places[-1] - places[0])


def insertion_test(
    model: nn.Module,
    train_images: Tensor,
    train_labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    saliency: Tensor,
    baseline: Tensor,
    *,
    control: Tensor | None = None,
    fractions: Sequence[float] = FRACTIONS,
    step_size: float = 1e-3,
    block: int = 1,
    score: Score | None = None,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
    batch_size: int = 16,
    seed: int = 0,
    show_progress: bool = False,
) -> PerturbationTest:
    """Keeps only the most salient part of each training image; paired against a control.

    For each pair and fraction: the top of the training image stays, the rest becomes the
    baseline; one plain SGD step on the loss of this image; the change of the test loss, and,
    without a step, the score of this image with the test image. The control gets the same. At
    fraction 1 the two are the same image, and the gap is exactly 0.

    Several controls, or several maps, are cheaper one by one with `masked_influence`; any two
    results make a `PerturbationTest`.

    Args:
        model: The trained model, in evaluation mode. It is not changed.
        train_images: ``[P, C, H, W]``.
        train_labels: Their labels as the loss takes them, ``[P, ...]``.
        test_images: ``[P, C, H, W]``, one for each training image; the same one may come often.
        test_labels: Theirs, ``[P, ...]``.
        saliency: The map as one number a pixel, ``[P, H, W]``, such as `saliency` of a map. Of a
            signed map give its negative for opponents.
        baseline: What fills the rest: a colour ``[C]`` (see `mean_colour`), or an image,
            ``[C, H, W]`` or ``[P, C, H, W]``.
        control: A saliency to beat, ``[P, H, W]``, see `captum_tfa.metrics.controls`. None is
            `random_saliency` with the same seed.
        fractions: How much of the image is kept, each in [0, 1], rising.
        step_size: Of the SGD step, above 0. Default 1e-3; where a few test images have a huge
            loss, smaller steps let others speak too.
        block: Masks consist of ``block x block`` cells, see `top_mask`. Default 1: pixels.
        score: Any score of the model, with its own loss. None is grad-cos. The mean over several
            models takes no step of training: use `masked_influence` with ``step_size=None``.
        loss_fn: The loss of one example; None is cross-entropy. See `Score`.
        output_fn: Picks the output tensor out of what the model returns. See `Score`.
        batch_size: Pairs at once, at least 1. Memory grows with it, results do not depend on it.
        seed: Seed of the random control, and of the choice among tied cells.
        show_progress: Show a progress bar over batches of pairs.

    Returns:
        Loss changes and scores of both sides, with their gaps.

    Raises:
        ValueError: Numbers or shapes that do not fit each other, fractions that do not rise
            within [0, 1], or a score or model that cannot be used, see `masked_influence`.
        TypeError: As `Score`.
    """
    return _compared(
        (model, train_images, train_labels, test_images, test_labels),
        saliency,
        control,
        baseline=baseline,
        remove=False,
        fractions=fractions,
        step_size=step_size,
        block=block,
        score=score,
        loss_fn=loss_fn,
        output_fn=output_fn,
        batch_size=batch_size,
        seed=seed,
        show_progress=show_progress,
    )


def deletion_test(
    model: nn.Module,
    train_images: Tensor,
    train_labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    saliency: Tensor,
    baseline: Tensor,
    *,
    control: Tensor | None = None,
    fractions: Sequence[float] = FRACTIONS,
    step_size: float = 1e-3,
    block: int = 1,
    score: Score | None = None,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
    batch_size: int = 16,
    seed: int = 0,
    show_progress: bool = False,
) -> PerturbationTest:
    """Removes the most salient part of each training image; paired against a control.

    As `insertion_test`, but the top becomes the baseline and the rest stays. Removing what
    matters most should leave less of the influence than removing the control's choice.

    Args:
        model: As in `insertion_test`.
        train_images: As in `insertion_test`, likewise all that follow.
        train_labels: Their labels.
        test_images: One for each training image.
        test_labels: Theirs.
        saliency: What is removed first.
        baseline: What it becomes.
        control: A saliency to beat; None is random.
        fractions: How much of the image is removed, each in [0, 1], rising.
        step_size: Of the SGD step.
        block: Side of a cell of the masks.
        score: Any score of the model.
        loss_fn: The loss of one example.
        output_fn: Picks the output tensor out of what the model returns.
        batch_size: Pairs at once.
        seed: Seed of the random control, and of the choice among tied cells.
        show_progress: Show a progress bar over batches of pairs.

    Returns:
        Loss changes and scores of both sides, with their gaps.

    Raises:
        ValueError: As `insertion_test`, likewise ``TypeError``.
    """
    return _compared(
        (model, train_images, train_labels, test_images, test_labels),
        saliency,
        control,
        baseline=baseline,
        remove=True,
        fractions=fractions,
        step_size=step_size,
        block=block,
        score=score,
        loss_fn=loss_fn,
        output_fn=output_fn,
        batch_size=batch_size,
        seed=seed,
        show_progress=show_progress,
    )


def _compared(
    pairs: tuple[nn.Module, Tensor, Tensor, Tensor, Tensor],
    saliency: Tensor,
    control: Tensor | None,
    *,
    seed: int,
    **options: Any,
) -> PerturbationTest:
    if control is None:
        control = random_saliency(pairs[1], seed)
    ours, theirs = (
        masked_influence(*pairs, chooser, seed=seed, **options) for chooser in (saliency, control)
    )
    return PerturbationTest(ours, theirs)

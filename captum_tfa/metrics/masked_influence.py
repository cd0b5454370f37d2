"""How much of a training image's influence is left when a part of the image is taken away?

Two answers, side by side. The score of the masked image with the test image, grad-cos or any other,
needs no step of training and has no noise. The change of the test loss after one SGD step on the
masked image is what the score stands for, measured; it mixes the image's direction with the size of
its gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.metrics.masking import masked, top_mask
from captum_tfa.metrics.sgd_step import loss_changes
from captum_tfa.scores import EnsembleScore, Score
from captum_tfa.scores.chosen import chosen_score
from captum_tfa.scores.sum_of_scores import EachPart

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0)  # those of [bacha2025training]


@dataclass(frozen=True)
class MaskedInfluence:
    """What is left of each pair's influence, for growing parts of the training image.

    Attributes:
        fractions: ``F`` parts of the image, rising.
        removed: Whether the most salient part was removed (deletion), or alone kept (insertion).
        loss_changes: Of the test image, by one step on the masked training image, ``[F, P]``;
            None if no step was taken.
        scores: Of the masked training image with the test image, ``[F, P]``.
        whole_scores: Of the training image as it is, ``[P]``.
    """

    fractions: tuple[float, ...]
    removed: bool
    loss_changes: Tensor | None
    scores: Tensor
    whole_scores: Tensor


def masked_influence(
    model: nn.Module,
    train_images: Tensor,
    train_labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    saliency: Tensor,
    baseline: Tensor,
    *,
    remove: bool = False,
    fractions: Sequence[float] = FRACTIONS,
    step_size: float | None = 1e-3,
    block: int = 1,
    score: Score | None = None,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
    batch_size: int = 16,
    seed: int = 0,
    show_progress: bool = False,
) -> MaskedInfluence:
    """Masks the training image of each pair by a saliency, and measures the influence again.

    Args:
        model: The trained model, in evaluation mode. It is not changed.
        train_images: ``[P, C, H, W]``.
        train_labels: Their labels as the loss takes them, ``[P, ...]``.
        test_images: ``[P, C, H, W]``, one for each training image; the same one may come often,
            and costs less if it comes in a row.
        test_labels: Theirs, ``[P, ...]``.
        saliency: What to keep or remove first, ``[P, H, W]``. Of a signed map give the part that
            makes the score what it is: itself for proponents, its negative for opponents.
        baseline: What fills the rest: a colour ``[C]`` (see `mean_colour`), or an image,
            ``[C, H, W]`` or ``[P, C, H, W]``.
        remove: Remove the most salient part instead of keeping it alone.
        fractions: How much of the image is kept (or removed), each in [0, 1], rising.
        step_size: Of the SGD step, above 0; None takes no step, which saves most of the time.
        block: Masks consist of ``block x block`` cells, see `top_mask`. Default 1: pixels.
        score: Any score of the model; one has its own loss, which the step is taken on as well.
            None is grad-cos. The mean over several models takes no step: each would need its own.
        loss_fn: The loss of one example; None is cross-entropy. See `Score`.
        output_fn: Picks the output tensor out of what the model returns. See `Score`.
        batch_size: Pairs at once, at least 1. Memory grows with it, results do not depend on it.
        seed: Seed of the choice among tied cells.
        show_progress: Show a progress bar over batches of pairs.

    Returns:
        Loss changes and scores, on the CPU.

    Raises:
        ValueError: Numbers or shapes that do not fit each other, fractions that do not rise
            within [0, 1], a score of another model or with a loss beside it, a step for a mean
            over several models, or a model that cannot be scored (see `validate`).
        TypeError: As `Score`.
    """
    levels = tuple(float(fraction) for fraction in fractions)
    _check(train_images, test_images, saliency, baseline, levels, batch_size)
    asked = chosen_score(model, score, loss_fn, output_fn)
    if step_size is not None and _of_several_models(asked):
        raise ValueError(
            "score is the mean over several models, and a step of training is taken on one; give "
            "step_size=None, which measures by the score alone"
        )
    rest = baseline.expand_as(train_images) if baseline.dim() == 4 else None
    batches = []
    starts = range(0, len(train_images), batch_size)
    for start in tqdm(starts, "masking", unit="batch", disable=not show_progress):
        rows = slice(start, start + batch_size)
        images, labels = train_images[rows], train_labels[rows]
        side = (test_images[rows], test_labels[rows])
        fill = baseline if rest is None else rest[rows]
        parts = [images]
        for level in levels:
            top = top_mask(saliency[rows], level, block, seed)
            parts.append(masked(images, ~top if remove else top, fill))
        scores = _scores(asked, parts, labels, side)
        changes = []
        if step_size is not None:
            changes = [
                loss_changes(
                    model,
                    part,
                    labels,
                    *side,
                    step_size,
                    asked.loss_fn,
                    asked.output_fn,
                    asked.measure_fn,
                ).cpu()
                for part in parts[1:]
            ]
        batches.append((scores, changes))
    found = [torch.cat(parts) for parts in zip(*(scores for scores, _ in batches), strict=True)]
    moved = [torch.cat(parts) for parts in zip(*(changes for _, changes in batches), strict=True)]
    return MaskedInfluence(
        fractions=levels,
        removed=remove,
        loss_changes=torch.stack(moved) if moved else None,
        scores=torch.stack(found[1:]),
        whole_scores=found[0],
    )


def _of_several_models(score: Score) -> bool:
    whole = score.score if isinstance(score, EachPart) else score
    return isinstance(whole, EnsembleScore)


def _scores(
    score: Score, parts: Sequence[Tensor], labels: Tensor, side: tuple[Tensor, Tensor]
) -> list[Tensor]:
    """The scores of each form of the training images, on the CPU; test gradients are made once."""
    each = torch.arange(len(labels), device=parts[0].device)

    def of_part(part: Score) -> tuple[Tensor, ...]:
        tests = part.test_gradients(*side)
        return tuple(part.paired(images, labels, tests, each) for images in parts)

    with torch.no_grad():
        return [scores.cpu() for scores in score.over_parts(of_part)]


def _check(
    train_images: Tensor,
    test_images: Tensor,
    saliency: Tensor,
    baseline: Tensor,
    fractions: tuple[float, ...],
    batch_size: int,
) -> None:
    pairs = len(train_images)
    if pairs == 0 or len(test_images) != pairs:
        raise ValueError(
            f"there are {pairs} training images and {len(test_images)} test images; give as many "
            "of each, at least 1: repeat a test image that goes with several"
        )
    wanted = [pairs, *train_images.shape[2:]]
    if list(saliency.shape) != wanted:
        raise ValueError(
            f"saliency has the shape {list(saliency.shape)} for training images "
            f"{list(train_images.shape)}; it must be {wanted}: sum a map over its channels"
        )
    if baseline.dim() == 4 and len(baseline) != pairs:
        raise ValueError(
            f"baseline holds {len(baseline)} images for {pairs} pairs; give one a pair, one for "
            "all [C, H, W], or a colour [C]"
        )
    rising = all(low < high for low, high in itertools.pairwise(fractions))
    if not fractions or not rising or fractions[0] < 0 or fractions[-1] > 1:
        raise ValueError(
            f"fractions are {list(fractions)}; give at least one, each in [0, 1], rising"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")

"""Do maps find a shortcut that was planted in the training set?

A coloured square goes into the corner of some training images of ONE class. A network learns it
as the name of that class. A test image of another class, with the square put in, is then called
by the wrong name, and the training pixels to blame are known: the square in the images that
oppose the right answer most. `patch_attribution` is the measure of [bacha2025training]
(appendix D.3): the share of the top pixels of such images' maps that lie in the square.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa.influence import ScoreInfluence
from captum_tfa.metrics.localisation import share_of_top_inside
from captum_tfa.scores import Score
from captum_tfa.scores.chosen import chosen_score

Saliencies = Callable[[Tensor, Tensor, Tensor, Tensor], Mapping[str, Tensor]]
"""``(training images [k, C, H, W], their labels [k], test image [1, C, H, W], its label [1])`` ->
saliencies ``[k, H, W]``, at least 0, by name: the maps to be compared on the same pairs."""


def corner_square(height: int, width: int, side: int) -> Tensor:
    """Where the square lies: the lower right corner.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        side: Of the square, in pixels, at least 1 and at most the shorter side of the image.

    Returns:
        Boolean, ``[height, width]``.

    Raises:
        ValueError: A square that does not fit into the image.
    """
    if not 1 <= side <= min(height, width):
        raise ValueError(
            f"side is {side} for images of {height} x {width} pixels; it must be at least 1 and "
            "fit into the image"
        )
    region = torch.zeros(height, width, dtype=torch.bool)
    region[height - side :, width - side :] = True
    return region


def some_of_class(labels: Tensor, chosen: int, fraction: float, seed: int = 0) -> Tensor:
    """Which examples get the square: ``round(fraction * members)`` of the class, at random.

    With one seed a larger fraction holds all examples of a smaller one, so that a sweep over
    fractions only ever adds squares.

    Args:
        labels: ``[N]``.
        chosen: The class.
        fraction: Of its members, in [0, 1].
        seed: Seed of the choice.

    Returns:
        Boolean, ``[N]``.

    Raises:
        ValueError: A class without members, or a fraction outside [0, 1].
    """
    members = (labels == chosen).nonzero().flatten()
    if len(members) == 0:
        raise ValueError(
            f"no label is {chosen}; the labels are {sorted(set(labels.tolist()))}: choose one"
        )
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; it must lie in [0, 1], e.g. 0.05 for 5 %")
    order = torch.randperm(len(members), generator=torch.Generator().manual_seed(seed))
    which = torch.zeros(len(labels), dtype=torch.bool)
    which[members[order[: int(fraction * len(members) + 0.5)].to(members.device)].cpu()] = True
    return which


def paint_region(images: Tensor, which: Tensor, region: Tensor, colour: Tensor) -> Tensor:
    """Copies of the images, the region of some of them in one colour.

    Args:
        images: ``[N, C, H, W]``, of any type.
        which: The images to paint, boolean ``[N]``.
        region: The pixels to paint, boolean ``[H, W]``.
        colour: ``[C]``, in the units of the images (0 to 255 for uint8).

    Returns:
        ``[N, C, H, W]``.

    Raises:
        ValueError: Shapes that do not fit each other, or a choice that is not boolean.
    """
    if images.dim() != 4:
        raise ValueError(f"images have the shape {list(images.shape)}; give [N, C, H, W]")
    count, channels, height, width = images.shape
    for name, given, shape in (
        ("which", which, [count]),
        ("region", region, [height, width]),
        ("colour", colour, [channels]),
    ):
        if list(given.shape) != shape or (name != "colour" and given.dtype != torch.bool):
            raise ValueError(
                f"{name} is {given.dtype} of the shape {list(given.shape)} for images "
                f"{list(images.shape)}; it must be {'' if name == 'colour' else 'boolean, '}{shape}"
            )
    there = which.view(-1, 1, 1, 1).to(images.device) & region.to(images.device)
    return torch.where(there, colour.to(images).view(1, -1, 1, 1), images)


@dataclass(frozen=True)
class PatchAttribution:
    """What the maps of the most opposed training images say about the square.

    Attributes:
        shares: By name of the map: the share of its top pixels inside the region, ``[Q, k]``,
            in [0, 1]. Chance level is the region's share of the area; the most that can be
            reached is ``region pixels / top pixels`` where the region is smaller than the top.
        opponents: Indices of the training images, most opposed first, ``[Q, k]``.
        scores: Theirs, ``[Q, k]``.
    """

    shares: Mapping[str, Tensor]
    opponents: Tensor
    scores: Tensor


def patch_attribution(
    model: nn.Module,
    train_dataset: Dataset[Any],
    test_images: Tensor,
    test_labels: Tensor,
    region: Tensor,
    saliencies: Saliencies,
    k: int = 10,
    fraction: float = 0.1,
    batch_size: int = 16,
    *,
    score: Score | None = None,
) -> PatchAttribution:
    """How much of the maps' top lies in the square, for the training images opposed most.

    Args:
        model: The trained model, in evaluation mode.
        train_dataset: Map-style, yields ``(image [C, H, W], class label)``.
        test_images: Test images with the square, ``[Q, C, H, W]``.
        test_labels: Their right classes, ``[Q]``: opponents of the right answer are wanted,
            whatever the model says.
        region: Where the square is, boolean ``[H, W]``.
        saliencies: Gives one or several saliencies of a test image's opponents.
        k: Opponents of a test image. Default 10, as in the paper.
        fraction: The part of the pixels that is "the top", in (0, 1]. Default 0.1.
        batch_size: Training images at once while ranking.
        score: What ranks: any score of the model; None is grad-cos.

    Returns:
        A `PatchAttribution`.

    Raises:
        TypeError: ``score`` is none.
        ValueError: ``k`` larger than the training set, a score of another model, or a saliency that
            is negative somewhere or not ``[k, H, W]``; otherwise see `ScoreInfluence` and
            `share_of_top_inside`.
    """
    influence = ScoreInfluence(chosen_score(model, score), train_dataset, batch_size)
    found = influence.influence((test_images, test_labels), k=k, proponents=False)
    indices, scores = found.indices, found.influence_scores
    if indices.shape[1] < k:
        raise ValueError(f"k is {k} for {indices.shape[1]} training images; ask for fewer")
    shares: dict[str, list[Tensor]] = {}
    for test, label, row in zip(
        test_images.split(1), test_labels.split(1), indices.tolist(), strict=True
    ):
        examples = [train_dataset[index] for index in row]
        images = torch.stack([image for image, _ in examples]).to(test)
        labels = torch.tensor([int(of) for _, of in examples], device=test.device)
        for name, saliency in saliencies(images, labels, test, label).items():
            _check(name, saliency, images)
            share = share_of_top_inside(saliency.unsqueeze(1), region, fraction)
            shares.setdefault(name, []).append(share.cpu())
    return PatchAttribution(
        {name: torch.stack(rows) for name, rows in shares.items()}, indices, scores
    )


def _check(name: str, saliency: Tensor, images: Tensor) -> None:
    wanted = [len(images), *images.shape[-2:]]
    if list(saliency.shape) != wanted or bool((saliency < 0).any()):
        raise ValueError(
            f"the saliency {name!r} has the shape {list(saliency.shape)} and the minimum "
            f"{float(saliency.min()):.3g}; it must be {wanted} and at least 0: use "
            "saliency(maps), or positive_mass(maps) where the sign counts"
        )

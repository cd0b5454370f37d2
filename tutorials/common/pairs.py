"""Pairs of a test image and a held-out image that influences it (paper, section 4.3)."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, ScoreInfluence
from captum_tfa.demo import Pictures, SmallCNN, train_classifier
from captum_tfa.scores import Score
from common.data import cifar10
from common.networks import kept


class Pairs(NamedTuple):
    """Rows that go together.

    Attributes:
        pool: The held-out images, ``[P, C, H, W]``, normalised.
        pool_labels: Their classes, ``[P]``.
        test: The test images, ``[P, C, H, W]``; each comes several times in a row.
        test_labels: The classes for which they are explained, ``[P]``.
        scores: Of each pair, ``[P]``.
    """

    pool: Tensor
    pool_labels: Tensor
    test: Tensor
    test_labels: Tensor
    scores: Tensor


def split(pictures: Pictures, share: float, seed: int) -> tuple[Pictures, Pictures]:
    """A random ``1 - share`` of the pictures to train on, and the rest: the pool."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pictures), generator=generator).tolist()
    last = round(share * len(order))
    return pictures.part(order[last:]), pictures.part(order[:last])


def network_name(pictures: Pictures, epochs: int, seed: int) -> str:
    """What is kept of such a network bears this name."""
    return f"small-cnn-{len(pictures)}-pictures-{epochs}-epochs-seed-{seed}"


def trained(pictures: Pictures, epochs: int, seed: int, cache: str | Path) -> nn.Module:
    """`SmallCNN` trained by Adam in one learning-rate cycle up to 4e-3, batches of 128."""
    torch.manual_seed(seed)
    model = SmallCNN(len(pictures.classes))
    return kept(
        Path(cache) / f"{network_name(pictures, epochs, seed)}.safetensors",
        model,
        lambda new: train_classifier(
            new, pictures, epochs, batch_size=128, seed=seed, show_progress=True
        ),
    )


def prepared(run: Namespace) -> tuple[Pictures, Pictures, Pictures, nn.Module]:
    """CIFAR-10 to train on, the held-out pool, the test set, and the network that was trained.

    Args:
        run: Settings with ``data``, ``cache``, ``pool_share``, ``epochs`` and ``seed``.
    """
    train, pool = split(cifar10(run.data, True, run.cache), run.pool_share, run.seed)
    test = cifar10(run.data, False, run.cache)
    return train, pool, test, trained(train, run.epochs, run.seed, run.cache)


def stacked(pictures: Pictures, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Images ``[N, C, H, W]`` as the network takes them, and labels ``[N]``."""
    rows = [pictures[int(index)] for index in indices]
    return torch.stack([image for image, _ in rows]), torch.tensor([label for _, label in rows])


def strongest(
    model: nn.Module,
    pool: Pictures,
    test: Tensor,
    test_labels: Tensor,
    count: int,
    proponents: bool = True,
    score: Score | None = None,
) -> Pairs:
    """Each test image with the ``count`` pool images of the highest (or lowest) score: grad-cos."""
    asked = GradCosScore(model) if score is None else score
    influence = ScoreInfluence(asked, pool, batch_size=250, show_progress=True)
    found = influence.influence((test, test_labels), k=count, proponents=proponents)
    images, labels = stacked(pool, found.indices.flatten())
    return Pairs(
        images,
        labels,
        test.repeat_interleave(count, 0),
        test_labels.repeat_interleave(count),
        found.influence_scores.flatten(),
    )

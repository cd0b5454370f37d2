"""Another score and another map beside the paper's: what ``--score`` and ``--method`` ask for.

The names are those of `explain`, and so are the maps. What a score with curvature needs is fitted
to the training set once, and kept.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa import InfluenceScore
from captum_tfa.curvature import fit_curvature, load_curvature
from captum_tfa.demo import Pictures
from captum_tfa.report import methods
from captum_tfa.report.arguments import SCORES, WITH_CURVATURE
from captum_tfa.report.mapping import Mapper
from captum_tfa.scores import Score
from common.pairs import network_name

PAPER_SCORE, PAPER_METHOD = "grad-cos", "gradient"
RIVAL_SCORE, RIVAL_METHOD = "influence", "integrated_gradients_norm_held"


def score_named(
    name: str,
    model: nn.Module,
    train: Dataset[Any],
    path: str | Path,
    fitted: int,
    loss_fn: Any = None,
    fit_loss: Any = None,
) -> Score:
    """The score of a name that `explain` knows.

    Args:
        name: "grad-cos", "grad-dot", or "influence": the cosine with curvature, by EK-FAC.
        model: A trained network.
        train: What it was trained on.
        path: Where the curvature of this network is kept, without an ending.
        fitted: Training images to which it is fitted, at most.
        loss_fn: The score's loss; None is cross-entropy.
        fit_loss: The loss that the network was trained with, to which curvature is fitted.

    Raises:
        ValueError: There is no score of this name.
    """
    if name in SCORES:
        return SCORES[name](model, loss_fn)
    if name != WITH_CURVATURE:
        raise ValueError(f"score is {name!r}; it must be one of {', '.join(SCORES)}, influence")
    file = Path(f"{path}-ekfac-{fitted}.safetensors")
    if file.is_file():
        curvature = load_curvature(file, model, fit_loss)
    else:
        most = min(fitted, len(train))  # type: ignore[arg-type]
        curvature = fit_curvature(model, train, max_examples=most, loss_fn=fit_loss)
        file.parent.mkdir(parents=True, exist_ok=True)
        curvature.save(file)
    return InfluenceScore(model, curvature, loss_fn=loss_fn)


def unkept_score(name: str, model: nn.Module, train: Dataset[Any], fitted: int) -> Score:
    """As `score_named`, for a network that is looked at once: its curvature is not kept."""
    if name in SCORES:
        return SCORES[name](model)
    most = min(fitted, len(train))  # type: ignore[arg-type]
    return InfluenceScore(model, fit_curvature(model, train, max_examples=most))


def score_of_pairs(
    name: str, model: nn.Module, train: Pictures, run: Namespace, seed: int | None = None
) -> Score:
    """`score_named` for a network of `common.pairs`.

    Args:
        name: As in `score_named`.
        model: The network.
        train: What it was trained on.
        run: Settings with ``cache``, ``epochs``, ``seed`` and ``fitted``.
        seed: Of its training; None is that of the settings.
    """
    kept = network_name(train, run.epochs, run.seed if seed is None else seed)
    return score_named(name, model, train, f"{run.cache}/{kept}", run.fitted)


class Maps:
    """The maps of pairs by a method that `explain` knows, one after the other.

    Args:
        method: Its name: "gradient" is the paper's map, smoothed.
        colour: What an image without content looks like, ``[C]``.
        samples: Noisy copies, or points on a path.
        noise_level: Deviation of the noise as a part of the image's max − min.
        seed: Of the noise.
    """

    def __init__(
        self, method: str, colour: Tensor, samples: int, noise_level: float = 0.1, seed: int = 0
    ) -> None:
        self.method = methods.choose(method, of_layer=False)
        self._mapper = Mapper(self.method, None, colour, samples, noise_level, None, seed)

    def of(self, score: Score, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Tensor:
        """Maps ``[P, C, H, W]`` of pairs, as they are.

        Args:
            score: Any score.
            train: The training images ``[P, C, H, W]`` and their labels ``[P, ...]``.
            test: The test images and their labels, one for each of these, or one for all.
        """
        images, labels = train
        others, asked = (side.expand(len(images), *side.shape[1:]) for side in test)
        rows = [slice(row, row + 1) for row in range(len(images))]
        found = [
            self._mapper(score, images[row], labels[row], (others[row], asked[row])) for row in rows
        ]
        return torch.stack(found)

    def heat(
        self, score: Score, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
    ) -> Tensor:
        """What `explain` draws of each pair, ``[P, H, W]``; of opponents what makes them so."""
        maps = self.of(score, train, test)
        with torch.no_grad():
            scores = score(train[0], test[0], test[1], train[1]).cpu()
        heats = [
            self.method.heat(map, float(value)) for map, value in zip(maps, scores, strict=True)
        ]
        return torch.stack(heats)

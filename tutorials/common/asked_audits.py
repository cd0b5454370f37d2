"""What the search for regions finds: as `audit` asks, and asked the other way round.

An audit asks what speaks against the right class of a mistake. The paper asks what speaks against
the wrong answer that the network gave [bacha2025training, section 5.2].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import ConvertImageDtype

from captum_tfa import ScoreInfluence
from captum_tfa.auditing import Evidence, Regions, audit, find_regions
from captum_tfa.auditing.control import chance_control
from captum_tfa.demo import Pictures, predict
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.scores import Score
from common.rivals import Maps


@dataclass(frozen=True, eq=False)
class Searched:
    """Regions behind mistakes.

    Attributes:
        mistakes: Those that were explained, places in the test set.
        images: Their pictures, uint8 ``[Q, C, H, W]``.
        all_mistakes: How many there are.
        evidence: The maps.
        regions: What was found in them.
    """

    mistakes: list[int]
    images: Tensor
    all_mistakes: int
    evidence: Evidence
    regions: Regions


def against_the_right_class(
    model: nn.Module, train: Pictures, test: Pictures, score: Score, **settings: Any
) -> Searched:
    """What `audit` finds, with its settings."""
    found = audit(model, train, test, score=score, **settings)
    assert found.evidence is not None, "a mistake has opponents"
    assert found.regions is not None, "and so there is something to search"
    return Searched(
        [mistake.index for mistake in found.mistakes],
        torch.stack([mistake.image for mistake in found.mistakes]),
        found.all_mistakes,
        found.evidence,
        found.regions,
    )


def against_the_answer(
    model: nn.Module,
    train: Pictures,
    test: Pictures,
    score: Score,
    max_mistakes: int,
    k: int,
    controls: int,
    seed: int,
) -> Searched:
    """The same for training images that speak most against what the model said.

    The same mistakes, the same maps (occlusion) and the same control as an audit's.
    """
    probabilities, labels = predict(model, test, batch_size=50)
    sure, said = probabilities.max(1)
    wrong = (said != labels).nonzero().flatten()
    chosen = wrong[sure[wrong].argsort(descending=True, stable=True)[:max_mistakes]]
    images = torch.stack([test[place][0] for place in chosen.tolist()])
    ranked = ScoreInfluence(score, train).influence((images, said[chosen]), k, proponents=False)
    indices = ranked.indices.flatten()
    mistakes = torch.arange(len(chosen)).repeat_interleave(ranked.indices.shape[1])
    maps = Maps("occlusion", mean_colour(train), samples=1)
    pairs = torch.stack([train[place][0] for place in indices.tolist()]), train.labels[indices]
    drawn = maps.of(score, pairs, (images[mistakes], said[chosen][mistakes])).sum(1)
    pictures = ConvertImageDtype(torch.uint8)(train.images)
    evidence = Evidence(
        mistakes=mistakes,
        indices=indices,
        labels=train.labels[indices],
        scores=ranked.influence_scores.flatten(),
        maps=drawn,
        images=pictures[indices],
    )
    control = chance_control(evidence, pictures, train.labels, controls, seed)
    return Searched(
        chosen.tolist(),
        ConvertImageDtype(torch.uint8)(test.images[chosen]),
        len(wrong),
        evidence,
        find_regions(evidence, control, seed=seed),
    )

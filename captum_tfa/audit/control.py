"""The chance control: the same with random training images and permuted maps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset

from captum_tfa.audit.evidence import Evidence

DRAWS = 19
"""Control draws: the top of the evidence beats all of them by chance once in 20 audits."""


def chance_control(
    evidence: Evidence, pictures: Dataset[Any], labels: Any, draws: int = DRAWS, seed: int = 0
) -> Iterator[Evidence]:
    """Evidence without a cause, drawn ``draws`` times; one at a time, to spare memory.

    Each training image of the evidence becomes a random one of the same label, the same in all of
    its pairs; its maps go to other pairs, moved round by a random way. Nothing is computed anew, so
    a draw costs no more than fetching its pictures.

    Args:
        evidence: what was found.
        pictures: the training set as shown, ``pictures[index]`` is ``[C, H, W]`` in [0, 1], or
            ``uint8``, for every index in the training set.
        labels: the label of every training image, ``[N]``.
        draws: how many, at least 1.
        seed: of the draws.
    """
    raise NotImplementedError

"""Indices for sums of scores: one for each checkpoint or model, in folders of their own."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.scores import Score, SumOfScores


def build_parts(
    score: Score,
    train_dataset: Dataset[Any] | DataLoader[Any],
    folder: str | os.PathLike[str],
    seed: int = 0,
    **settings: Any,
) -> list[GradientIndex]:
    """An index for each part of a score, for TracIn one a checkpoint.

    Each has a projection of its own, so that the noise of projections averages out in the sum.

    Args:
        score: a sum of scores, such as `TracInScore` or `EnsembleScore`.
        train_dataset: as for `GradientIndex.build`.
        folder: the indices lie in ``000``, ``001``, ... of it.
        seed: of the first projection; the next part's is one more.
        **settings: the others of `GradientIndex.build`.

    Returns:
        The indices in the order of the parts, for ``ScoreInfluence(score, indices)``.

    Raises:
        TypeError: the score is no sum; otherwise as `GradientIndex.build`.
    """
    if not isinstance(score, SumOfScores):
        raise TypeError(
            f"score is a {type(score).__name__}, which is no sum of scores; give it to "
            "GradientIndex.build."
        )
    found = []
    with closing(score.parts()) as parts:
        for number, (_, part) in enumerate(parts):
            place = Path(folder) / f"{number:03d}"
            own = {**settings, "seed": seed + number if number else seed}
            found.append(GradientIndex.build(part, train_dataset, place, **own))
    return found

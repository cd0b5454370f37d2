"""Which training images stand behind the mistakes? One ranking for all of them.

Whoever wrongly learned to say "cat" here learned it from some training images: the *opponents* of
the right answer, whose scores with it are below 0. They are the ones to look at. A pass over the
training set costs the gradients of the training images, however many test images it is made for,
so all mistakes share it, and the sample that the search for wrong labels needs comes along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa.auditing.progress import Progress
from captum_tfa.auditing.suspected_labels import Tally
from captum_tfa.gradients.selection import choose
from captum_tfa.index import GradientIndex
from captum_tfa.index.parts import indices_of
from captum_tfa.influence import ScoreInfluence
from captum_tfa.report import arguments
from captum_tfa.scores import Score

_GRADIENTS_BYTES = 2**32
"""Test gradients are held while the training set goes by: at most about so much memory."""

_SCORES_BYTES = 2**28
"""And so much for the scores."""


@dataclass(frozen=True)
class PairOpponent:
    """A training image behind the mistakes of one kind.

    Attributes:
        index: Its place in the training set.
        label: Its label.
        mistakes: How many of the pair's mistakes it stands behind.
        share: The same as a part of them, in (0, 1].
        score: Its mean score with these, below 0.
    """

    index: int
    label: int
    mistakes: int
    share: float
    score: float


@dataclass(frozen=True)
class Pair:
    """All mistakes of one kind: the model says ``predicted`` where ``label`` is right.

    Attributes:
        label: The right class.
        predicted: The class that the model says.
        mistakes: Places of these in the audit's list of mistakes.
        opponents: The training images that come up again and again: those behind at least two of
            them (of a single mistake all), the most frequent first.
    """

    label: int
    predicted: int
    mistakes: tuple[int, ...]
    opponents: tuple[PairOpponent, ...]


@dataclass(frozen=True, eq=False)
class Ranked:
    """What one ranking of the training set gives.

    Attributes:
        indices: Of each mistake the ``k`` training images with the lowest scores, ``[Q, k]``.
        scores: Their scores, ``[Q, k]``; 0 or more are no opponents.
        tally: How each training image goes with a sample of the test images.
    """

    indices: Tensor
    scores: Tensor
    tally: Tally


def rank(
    score: Score,
    train: Dataset[Any] | GradientIndex | Sequence[GradientIndex],
    train_labels: Tensor,
    test_dataset: Dataset[Any],
    mistakes: Tensor,
    sample: Tensor,
    k: int,
    progress: Progress,
    batch_size: int = 64,
    num_workers: int = 0,
    show_progress: bool = False,
) -> Ranked:
    """The opponents of each mistake, and how training images go with a sample of the test images.

    As many test images share a pass as memory allows. With an index the scores of opponents are
    exact; the tally is of its estimates.

    Args:
        score: What ranks.
        train: The training set, or an index of it with the data set at hand; of a sum of scores
            one for each part.
        train_labels: Its labels, ``[N]``.
        test_dataset: Yields ``(image, label)``.
        mistakes: Places there, ``[Q]``.
        sample: Places of the sample, ``[R]``, which may hold mistakes.
        k: Opponents of a mistake.
        progress: Keeps what is found.
        batch_size: Training images at once.
        num_workers: Processes that load training images.
        show_progress: Show a progress bar.
    """
    influence = ScoreInfluence(score, train, batch_size, num_workers, show_progress)
    places = torch.cat([mistakes, sample[~torch.isin(sample, mistakes)]])
    indices = torch.empty(0, min(k, len(train_labels)), dtype=torch.long)
    scores = torch.empty(0, min(k, len(train_labels)))
    tally = Tally.nothing(len(train_labels))
    size = _at_once(score, len(train_labels))
    for start in range(0, len(places), size):
        block = places[start : start + size]
        wrong = max(0, min(len(block), len(mistakes) - start))

        def work(block: Tensor = block, wrong: int = wrong) -> dict[str, Tensor]:
            told = torch.isin(block, sample)
            return _ranked(influence, train_labels, test_dataset, block, wrong, told, k)

        found = progress.result(f"ranking {start}+{len(block)}", work)
        indices = torch.cat([indices, found.pop("indices")])
        scores = torch.cat([scores, found.pop("scores")])
        tally = tally + Tally(**found)
    return Ranked(indices, scores, tally)


def _ranked(
    influence: ScoreInfluence,
    train_labels: Tensor,
    test_dataset: Dataset[Any],
    places: Tensor,
    wrong: int,
    told: Tensor,
    k: int,
) -> dict[str, Tensor]:
    """One pass for some test images: the first ``wrong`` are mistakes, ``told`` are the sample."""
    examples = [arguments.example(test_dataset, p, "test_dataset") for p in places.tolist()]
    images = torch.stack([image for image, _ in examples])
    labels = torch.tensor([label for _, label in examples])
    device = next(influence.model.parameters()).device
    images, asked = images.to(device), labels.to(device)
    every = influence.influence((images, asked))  # [q, N]
    if not wrong:
        indices, lowest = torch.empty(0, k, dtype=torch.long), torch.empty(0, k)
    elif indices_of(influence.train_dataset) is not None:
        indices, lowest = influence.influence((images[:wrong], asked[:wrong]), k, proponents=False)
    else:
        indices = every[:wrong].argsort(dim=1, stable=True)[:, :k]
        lowest = every[:wrong].gather(1, indices)
    width = min(k, len(train_labels))
    tally = Tally.of(every[told], labels[told], train_labels)
    return {
        "indices": indices[:, :width].contiguous(),
        "scores": lowest[:, :width].float().contiguous(),
        **vars(tally),
    }


def _at_once(score: Score, count: int) -> int:
    """How many test images share a pass."""
    chosen: dict[str, nn.Parameter] = choose(score.model, score.choice)
    numbers = max(1, sum(parameter.numel() for parameter in chosen.values()))
    return max(1, min(_GRADIENTS_BYTES // (4 * numbers), _SCORES_BYTES // (4 * count)))


def pairs_of(
    labels: Sequence[int], predicted: Sequence[int], ranked: Ranked, train_labels: Tensor
) -> tuple[Pair, ...]:
    """For each (right, predicted) pair the opponents that come up again and again.

    Args:
        labels: Right class of each mistake.
        predicted: What the model says of it.
        ranked: The opponents of each.
        train_labels: Labels of the training set, ``[N]``.

    Returns:
        The pairs, those with the most mistakes first.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for place, kind in enumerate(zip(labels, predicted, strict=True)):
        kinds.setdefault(kind, []).append(place)
    found = []
    for (label, said), places in sorted(kinds.items(), key=lambda item: (-len(item[1]), item[0])):
        behind: dict[int, list[float]] = {}
        for place in places:
            row = zip(ranked.indices[place].tolist(), ranked.scores[place].tolist(), strict=True)
            for index, value in row:
                if value < 0:
                    behind.setdefault(index, []).append(value)
        opponents = [
            PairOpponent(
                index,
                int(train_labels[index]),
                len(values),
                len(values) / len(places),
                sum(values) / len(values),
            )
            for index, values in behind.items()
            if len(values) >= min(2, len(places))
        ]
        opponents.sort(key=lambda each: (-each.mistakes, each.score, each.index))
        found.append(Pair(label, said, tuple(places), tuple(opponents)))
    return tuple(found)

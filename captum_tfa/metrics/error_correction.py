"""Can wrong predictions be mended by way of the training examples to blame for them?

Some labels of the training set are wrong, planted or not. The examples that oppose the right
answers of wrongly predicted test images most are taken out of the training set, or the regions
of them that their maps point at are blanked; the model is trained anew on what is left. This is
worth something only if it mends more than taking out as many at random. A new training mends
some errors and breaks other answers by chance alone, so both are counted; and the test images
that were asked about are fitted to, so others, held out, are looked at beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from captum_tfa.influence import ScoreInfluence
from captum_tfa.metrics.masking import masked
from captum_tfa.metrics.paired import PairedDifference, paired_difference
from captum_tfa.scores import Score

Retrain = Callable[[Dataset[Any]], nn.Module]
"""Trains a new model on a data set and gives it back in evaluation mode. The same data must give
the same model (seed it inside), or chance differs between what is compared."""

_AT_ONCE = 256  # test images in a pass


@dataclass(frozen=True)
class Opponents:
    """The training examples to blame for a set of wrong predictions.

    Attributes:
        indices: In the training set, most opposed first, ``[n]``.
        scores: What they are ranked by, ``[n]``: their mean score over the test images, or the
            lowest one.
        test_of: For each the place of the test image that it opposes most, ``[n]``: a map of the
            example needs one.
    """

    indices: Tensor
    scores: Tensor
    test_of: Tensor


def most_opposed(
    score: Score,
    train_dataset: Dataset[Any],
    test_images: Tensor,
    test_labels: Tensor,
    n: int,
    against: Literal["all", "any"] = "all",
    batch_size: int = 16,
) -> Opponents:
    """The ``n`` training examples that oppose the right answers of test images most.

    Args:
        score: Of the trained model, such as ``GradCosScore(model)``.
        train_dataset: Map-style, yields ``(image, label)``.
        test_images: Wrongly predicted ones, ``[Q, ...]``.
        test_labels: Their right labels, ``[Q]``.
        n: How many, from 1 to the size of the training set.
        against: "all" ranks by the mean score over the test images (default), "any" by the
            lowest score for one of them.
        batch_size: Training examples at once.

    Raises:
        ValueError: ``n`` out of its range, or another word for ``against``; otherwise see
            `ScoreInfluence`.
    """
    if against not in ("all", "any"):
        raise ValueError(f'against is {against!r}; it must be "all" or "any" of the test images')
    influence = ScoreInfluence(score, train_dataset, batch_size)
    scores = influence.influence((test_images, test_labels))  # [Q, N]
    if not 1 <= n <= scores.shape[1]:
        raise ValueError(f"n is {n}; it must be from 1 to {scores.shape[1]}, the training examples")
    together = scores.mean(0) if against == "all" else scores.amin(0)
    indices = together.argsort(stable=True)[:n]
    return Opponents(indices, together[indices], scores[:, indices].argmin(0))


def as_many_at_random(
    indices: Tensor, count: int, labels: Tensor | None = None, seed: int = 0
) -> Tensor:
    """The control: as many other training examples, drawn at random without replacement.

    Args:
        indices: What is to be compared with, ``[n]``.
        count: Size of the training set.
        labels: Its labels ``[N]``: as many *of each class* are drawn then, since a class that
            shrinks changes predictions by itself. None (default) draws from all.
        seed: Seed of the draw.

    Returns:
        Indices, ``[n]``. Those of ``indices`` may be drawn too.

    Raises:
        ValueError: Not one label a training example, or more indices than examples.
    """
    given = count if labels is None else len(labels)
    if len(indices) > count or given != count:
        raise ValueError(
            f"got {len(indices)} indices and {given} labels for {count} training examples; give "
            "at most as many indices as examples, and one label an example"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    if labels is None:
        return order[: len(indices)]
    labels = labels.cpu()
    classes, counts = labels[indices].unique(return_counts=True)
    drawn = zip(classes, counts.tolist(), strict=True)
    return torch.cat([order[labels[order] == label][:some] for label, some in drawn])


def without_examples(dataset: Dataset[Any], indices: Tensor) -> Subset[Any]:
    """The data set, in its order, without some of its examples."""
    gone = set(indices.tolist())
    kept = [index for index in range(len(dataset)) if index not in gone]  # type: ignore[arg-type]
    return Subset(dataset, kept)


class Blanked(Dataset[tuple[Tensor, Any]]):
    """The data set with some pixels of some images filled; labels stay.

    Args:
        dataset: Map-style, yields ``(image [C, H, W], label)``.
        indices: The images concerned, ``[n]``, each once.
        blank: Their pixels to fill, boolean ``[n, H, W]``; see `top_mask`.
        baseline: The fill: one colour ``[C]``, or an image; see `masked`.

    Raises:
        ValueError: Not one mask an index, or an index twice.
    """

    def __init__(
        self, dataset: Dataset[Any], indices: Tensor, blank: Tensor, baseline: Tensor
    ) -> None:
        if len(indices) != len(blank) or len(indices.unique()) != len(indices):
            raise ValueError(
                f"got {len(indices)} indices, {len(indices.unique())} of them different, and "
                f"{len(blank)} masks; give each index once, with one mask"
            )
        self.dataset = dataset
        self.baseline = baseline
        self._keep = dict(zip(indices.tolist(), ~blank, strict=True))

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        image, label = self.dataset[index]
        if index in self._keep:
            image = masked(image[None], self._keep[index][None], self.baseline)[0]
        return image, label


@dataclass(frozen=True)
class Correction:
    """What a new model does to the test images, against the old one.

    Attributes:
        mended: Test images that the old model got wrong and the new one gets right.
        broken: The other way round.
        accuracy: Of the new model, in [0, 1].
    """

    mended: int
    broken: int
    accuracy: float


def count_corrections(before: Tensor, after: Tensor) -> Correction:
    """Counts what became of the answers to a test set.

    Args:
        before: Which answers of the old model are right, boolean ``[T]``; see `right_answers`.
        after: The same of the new model.

    Raises:
        ValueError: Not two boolean tensors of one length, at least 1.
    """
    if before.shape != after.shape or before.dtype != torch.bool or after.dtype != torch.bool:
        raise ValueError(
            f"before is {before.dtype} {list(before.shape)}, after {after.dtype} "
            f"{list(after.shape)}; give right_answers() of both models for one test set"
        )
    return Correction(
        mended=int((~before & after).sum()),
        broken=int((before & ~after).sum()),
        accuracy=float(after.double().mean()),
    )


@torch.no_grad()
def right_answers(model: nn.Module, dataset: Dataset[Any]) -> Tensor:
    """Which examples a classifier with logits ``[B, C]`` gets right: boolean ``[T]``, on CPU."""
    device = next(model.parameters()).device
    batches = DataLoader(dataset, _AT_ONCE)
    return torch.cat([model(x.to(device)).argmax(1).cpu() == y for x, y in batches])


def error_correction(
    model: nn.Module,
    changed: Mapping[str, Dataset[Any]],
    retrain: Retrain,
    tests: Mapping[str, Dataset[Any]],
) -> dict[str, dict[str, Correction]]:
    """Trains anew on each changed training set and looks at what became of the answers.

    Args:
        model: Trained on the unchanged training set, in evaluation mode.
        changed: Training sets by name: `without_examples` the opponents, without as many at random,
            `Blanked`, ...
        retrain: Trains a new model on a data set; called once for each.
        tests: Test sets by name, as ``{"asked": ..., "held out": ...}``: those whose errors
            chose the opponents, and others.

    Returns:
        ``[name of the training set][name of the test set]`` -> `Correction`.

    Raises:
        ValueError: `retrain` returns a model in training mode.
    """
    before = {name: right_answers(model, test) for name, test in tests.items()}
    found = {}
    for name, dataset in changed.items():
        new = retrain(dataset)
        if new.training:
            raise ValueError(
                "retrain gave back a model in training mode, whose answers depend on the batch; "
                "call model.eval() at its end"
            )
        found[name] = {
            test: count_corrections(before[test], right_answers(new, tests[test])) for test in tests
        }
    return found


def share_mislabelled(indices: Tensor, mislabelled: Tensor) -> float:
    """The share of chosen training examples whose label really is wrong, in [0, 1].

    Args:
        indices: The chosen, ``[n]``, at least one.
        mislabelled: Which labels are wrong, boolean ``[N]``; chance level is its mean.

    Raises:
        ValueError: No index, or a ``mislabelled`` that is not boolean.
    """
    if len(indices) == 0 or mislabelled.dtype != torch.bool:
        raise ValueError(
            f"got {len(indices)} indices and mislabelled as {mislabelled.dtype}; give at least "
            "one index, and one boolean for each training example"
        )
    return float(mislabelled[indices].double().mean())


@dataclass(frozen=True)
class CorrectionGap:
    """What a treatment does beyond its control, over several seeds.

    Attributes:
        mended: Test images mended, treatment minus control; more is better.
        broken: Test images broken; fewer is better.
        accuracy: Of the new models; higher is better.
    """

    mended: PairedDifference
    broken: PairedDifference
    accuracy: PairedDifference


def compare_corrections(
    treated: Sequence[Correction], control: Sequence[Correction]
) -> CorrectionGap:
    """Paired differences over seeds, with 95 % intervals.

    Args:
        treated: One `Correction` a seed.
        control: Those of the same seeds and the same test set under the control.

    Raises:
        ValueError: Not as many of one as of the other, or none; see `paired_difference`.
    """

    def difference(what: str, lower_is_better: bool) -> PairedDifference:
        first, second = (
            torch.tensor([getattr(of, what) for of in side], dtype=torch.double)
            for side in (treated, control)
        )
        return paired_difference(first, second, lower_is_better)

    return CorrectionGap(
        mended=difference("mended", lower_is_better=False),
        broken=difference("broken", lower_is_better=True),
        accuracy=difference("accuracy", lower_is_better=False),
    )

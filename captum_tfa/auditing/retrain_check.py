"""Does training without the suspects mend the mistakes?

An audit points at training images; only a training without them tells whether they were to blame.
The model is trained anew without the suspects, or with their regions covered, and as often with as
many random images of the same labels treated in the same way: trainings differ by chance, and a
class that shrinks changes answers by itself. The mistakes that were explained are looked at apart
from the other test images, since the suspects were chosen by them.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.auditing.labels import labels_of
from captum_tfa.auditing.mistakes import answers_of
from captum_tfa.auditing.progress import Progress
from captum_tfa.auditing.result import Audit
from captum_tfa.auditing.suspects import Suspect
from captum_tfa.index.identity import IndexedData
from captum_tfa.metrics.error_correction import (
    Blanked,
    Correction,
    as_many_at_random,
    count_corrections,
    without_examples,
)
from captum_tfa.metrics.intervals import Interval
from captum_tfa.report import arguments, shared

Train = Callable[[Dataset[Any], int], nn.Module]
"""Trains a new model on a data set with a seed, and gives it back in evaluation mode. The same data
and seed must give the same model."""

Treatment = Literal["without", "covered"]

_ARMS = ("suspects", "random")


@dataclass(frozen=True)
class Treated:
    """What a treatment of the suspects did, against as many random training images.

    Attributes:
        treatment: "without" them, or with their regions "covered".
        images: How many training images that concerned.
        suspects: What the new models do to all test images, one a seed.
        random: The same of the control.
        accuracy: The mean difference of the accuracies, in [-1, 1], with a 95 % interval (Student's
            t over the seeds, paired); NaN ends if there was one seed.
        mended: The same of the share of the explained mistakes that are mended.
        others: The same of the accuracy on the test images that were not explained; NaN if all
            were.
    """

    treatment: Treatment
    images: int
    suspects: tuple[Correction, ...]
    random: tuple[Correction, ...]
    accuracy: Interval
    mended: Interval
    others: Interval

    @property
    def verdict(self) -> str:
        """Whether it "helped", "hurt" or "cannot be told", by the interval of the accuracy."""
        if self.accuracy.low > 0:
            return "helped"
        return "hurt" if self.accuracy.high < 0 else "cannot be told"

    def __str__(self) -> str:
        """What was done and what came of it, in plain words."""
        what = {"without": "Without", "covered": "With the regions covered of"}[self.treatment]
        treated, control = (
            sum(each.accuracy for each in arm) / len(arm) for arm in (self.suspects, self.random)
        )
        ends = (
            "one training each has no interval"
            if math.isnan(self.accuracy.low)
            else f"95 % interval {100 * self.accuracy.low:+.1f} to {100 * self.accuracy.high:+.1f}"
        )
        verdict = {
            "helped": "it helped",
            "hurt": "it did harm",
            "cannot be told": "it cannot be told whether it helped",
        }[self.verdict]
        mended = (
            ""  # no mistake was explained
            if math.isnan(self.mended.mean)
            else f" The share of the explained mistakes that are mended differs by "
            f"{100 * self.mended.mean:+.1f} points."
        )
        return (
            f"{what} {self.images} suspects the model is right on {treated:.1%} of the test "
            f"images, and on {control:.1%} with as many random ones treated alike "
            f"({100 * self.accuracy.mean:+.1f} points, {ends}; {len(self.random)} "
            f"training{'s' if len(self.random) > 1 else ''} each): {verdict}.{mended}"
        )


def retrain_check(
    audit: Audit,
    model: nn.Module,
    train_dataset: Dataset[Any],
    test_dataset: Dataset[Any],
    train: Train,
    *,
    top: int | None = None,
    treatments: Sequence[Treatment] = ("without", "covered"),
    seeds: int = 3,
    folder: str | os.PathLike[str] | None = None,
    output_fn: Callable[[Any], Tensor] | None = None,
    batch_size: int = 64,
    show_progress: bool = False,
) -> tuple[Treated, ...]:
    """Trains anew without the suspects, or with their regions covered, against as many at random.

    That takes ``2 * seeds`` trainings a treatment. Whatever comes of it on these test images is
    fitted to them: a test set that no audit has seen tells more.

    Args:
        audit: What was found.
        model: The model that was audited, with whose answers the new ones are compared.
        train_dataset: As for `audit`; what `train` is given is made of it. The images come as they
            do here, so random crops and flips are for ``train`` to make.
        test_dataset: As for `audit`.
        train: Takes a data set and a seed and gives back a trained model, in evaluation mode.
        top: So many of the first suspects. None (default): all of the first kind that there is:
            those of regions that stand out, else suspected labels, else opponents.
        treatments: "without" leaves the suspects out, "covered" fills their regions with the mean
            colour. Suspects without a region cannot be covered; if there is none with, "covered" is
            left out.
        seeds: Trainings of each kind, at least 1; one alone tells nothing. Default 3.
        folder: Where results are kept as they come: new, empty, or of a check of the same suspects,
            data and name of ``train``. None (default) keeps nothing.
        output_fn: As for `audit`.
        batch_size: Test images at once.
        show_progress: Show a progress bar over the trainings.

    Returns:
        What each treatment did.

    Raises:
        ValueError: There is no suspect, a number out of its range, ``train`` gives back a model
            in training mode, or the folder is of another check.
    """
    _check(audit, top, treatments, seeds)
    chosen = _chosen(audit.suspects, top)
    covered = [each for each in chosen if each.region is not None]
    labels = labels_of(train_dataset, show_progress)
    colour = shared.typical_colour(train_dataset, len(labels))
    classes = len(audit.class_names)

    def right(of: nn.Module) -> Tensor:
        answers = answers_of(of, test_dataset, classes, output_fn, batch_size)
        return answers.predicted == answers.labels

    before = right(model)
    progress = Progress(
        folder,
        {
            "suspects": [[each.index, str(each.region)] for each in chosen],
            "train": IndexedData(train_dataset, 1, 0).sample(len(labels)),
            "test": IndexedData(test_dataset, 1, 0).sample(len(before)),
            "trained by": getattr(train, "__qualname__", type(train).__qualname__),
        },
    )
    todo: list[tuple[Treatment, list[Suspect]]] = [
        (treatment, chosen if treatment == "without" else covered)
        for treatment in treatments
        if treatment == "without" or covered
    ]
    with tqdm(
        total=2 * seeds * len(todo), desc="retraining", unit="model", disable=not show_progress
    ) as bar:

        def trained(treatment: Treatment, suspects: list[Suspect], arm: str, seed: int) -> Tensor:
            def work() -> dict[str, Tensor]:
                changed = _changed(
                    train_dataset, labels, colour, treatment, suspects, arm == "random", seed,
                    audit.image_size,
                )  # fmt: skip
                new = train(changed, seed)
                if new.training:
                    raise ValueError(
                        "train gave back a model in training mode, whose answers depend on the "
                        "batch; call model.eval() at its end"
                    )
                return {"right": right(new)}

            found = progress.result(f"{treatment} {arm} seed {seed}", work)["right"]
            bar.update()
            return found

        results = []
        for treatment, suspects in todo:
            after = {
                arm: torch.stack([trained(treatment, suspects, arm, s) for s in range(seeds)])
                for arm in _ARMS
            }
            results.append(_compared(audit, treatment, len(suspects), before, after))
    return tuple(results)


def _compared(
    audit: Audit, treatment: Treatment, images: int, before: Tensor, after: dict[str, Tensor]
) -> Treated:
    """Of right answers ``[T]`` before and ``[seeds, T]`` after, of both arms."""
    explained = torch.zeros_like(before)
    explained[torch.tensor([each.index for each in audit.mistakes], dtype=torch.long)] = True
    gaps = after["suspects"].double() - after["random"].double()
    counted = {
        arm: tuple(count_corrections(before, right) for right in after[arm]) for arm in _ARMS
    }
    return Treated(
        treatment,
        images,
        counted["suspects"],
        counted["random"],
        student_interval(gaps.mean(1)),
        student_interval(gaps[:, explained].mean(1)),
        student_interval(gaps[:, ~explained].mean(1)),
    )


def student_interval(values: Tensor) -> Interval:
    """The mean of a few independent values ``[n]`` with Student's 95 % interval.

    One value alone has no interval; without any the mean is NaN as well.
    """
    count = len(values)
    mean = float(values.mean()) if count else math.nan
    if count < 2 or math.isnan(mean):
        return Interval(mean, math.nan, math.nan)
    quantile = importlib.import_module("scipy.stats").t  # scikit-learn brings it
    half = float(quantile.ppf(0.975, count - 1)) * float(values.std()) / count**0.5
    return Interval(mean, mean - half, mean + half)


def _changed(
    dataset: Dataset[Any],
    labels: Tensor,
    colour: Tensor,
    treatment: Treatment,
    suspects: list[Suspect],
    at_random: bool,
    seed: int,
    size: tuple[int, int],
) -> Dataset[Any]:
    """The training set with the suspects treated, or as many random images of their labels."""
    # Sorted as the random ones come: a random image gets the region of a suspect of its label.
    suspects = sorted(suspects, key=lambda each: int(labels[each.index]))
    indices = torch.tensor([each.index for each in suspects])
    if at_random:
        indices = as_many_at_random(indices, len(labels), labels, seed)
    if treatment == "without":
        return without_examples(dataset, indices)
    blank = torch.zeros(len(suspects), *size, dtype=torch.bool)
    for row, region in zip(blank, (each.region for each in suspects), strict=True):
        assert region is not None, "only suspects with a region are covered"
        row[region.top : region.top + region.height, region.left : region.left + region.width] = (
            True
        )
    return Blanked(dataset, indices, blank, colour)


def _chosen(suspects: Sequence[Suspect], top: int | None) -> list[Suspect]:
    """The first suspects, each training image once."""
    first: dict[int, Suspect] = {}
    kind = suspects[0].kind
    for each in suspects:
        if top is not None or each.kind == kind:
            first.setdefault(each.index, each)
    return list(first.values())[:top]


def _check(audit: Audit, top: int | None, treatments: Sequence[str], seeds: int) -> None:
    if not audit.suspects:
        raise ValueError("the audit has no suspect, so there is nothing to train without")
    if top is not None:
        arguments.check_whole("top", top, 1)
    arguments.check_whole("seeds", seeds, 1)
    strange = [each for each in treatments if each not in ("without", "covered")]
    if strange or not treatments:
        raise ValueError(
            f"treatments is {list(treatments)}; give one or both of 'without' and 'covered'"
        )

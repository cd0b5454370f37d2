"""What several commands are given alike: a model, its training images, an index."""

from __future__ import annotations

import argparse
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from captum_tfa.cli import data, models, scores
from captum_tfa.cli.errors import UserError, as_user_error, one_line, own_errors
from captum_tfa.cli.model_libraries import check_class_order
from captum_tfa.cli.output import say
from captum_tfa.curvature import load_curvature
from captum_tfa.index import GradientIndex
from captum_tfa.report.arguments import FITTED_TO, WITH_CURVATURE, open_index, with_curvature
from captum_tfa.scores import GradDotScore, InfluenceScore, Score

# Training images that are tried out, to see whether model, weights and pictures fit together.
_TRIED = 64


@dataclass(frozen=True)
class Opened:
    """A model that is ready to be asked, and what it was trained on.

    Attributes:
        model: In evaluation mode, on its device.
        preprocess: What prepares its pictures.
        training_set: Prepared by it.
        root: The folder of the training images.
        classes: Their names.
        device: Of the model.
        others: The same model from the other trainings of ``--ensemble``.
    """

    model: nn.Module
    preprocess: models.Preprocess
    training_set: Dataset[Any]
    root: Path
    classes: list[str]
    device: torch.device
    others: tuple[nn.Module, ...]

    def plain_score(
        self, options: argparse.Namespace, loss_fn: nn.Module | str | None, asked: str
    ) -> Score:
        """The score that needs no fit and is of the same gradients as the one that is asked for.

        Args:
            options: Those of the command.
            loss_fn: The model's loss; None for cross-entropy.
            asked: The name of the score.

        Raises:
            UserError: It cannot be made of this model or these files.
        """
        if asked == "tracin":
            return scores.made(asked, options, self.model, self.training_set, loss_fn)
        if self.others:
            models = [self.model, *self.others]
            return scores.mean_over("grad-dot", options, models, self.training_set, loss_fn)
        return GradDotScore(self.model, loss_fn)

    def index(
        self, options: argparse.Namespace, loss_fn: nn.Module | None, asked: str
    ) -> list[GradientIndex] | None:
        """The index of ``--index``, if there is one; of a sum of scores one for each part.

        Args:
            options: Those of the command.
            loss_fn: The model's loss; None for cross-entropy.
            asked: The name of the score.

        Raises:
            UserError: It is no index, or of another data set, model or loss.
        """
        if options.index is None:
            return None
        with as_user_error(OSError), own_errors():
            score = self.plain_score(options, loss_fn, asked)
            return open_index(options.index, self.training_set, score)

    def words(self, tests: str = "") -> str:
        """What it is, and whether its parts fit together.

        Args:
            tests: A line about test images.
        """
        return (
            f"{len(self.training_set)} training images of "  # type: ignore[arg-type]
            f"{len(self.classes)} classes in {self.root}: {data.listed(self.classes)}\n{tests}"
            f"images are prepared by {one_line(repr(self.preprocess))}\n"
            f"the model is right on {_tried(self.model, self.training_set)}"
        )


def opened(
    options: argparse.Namespace, device: torch.device, root: Path, classes: list[str]
) -> Opened:
    """The model of the options with its weights, and the training images in a folder.

    Raises:
        UserError: They cannot be had, or do not fit together.
    """

    def trained(weights: str | None) -> tuple[nn.Module, models.Preprocess]:
        model, preprocess = models.build(options.model, len(classes))
        models.weights_into(model, options.model, weights)
        check_class_order(model, classes)
        return model.to(device).eval(), preprocess

    model, preprocess = trained(options.weights)
    others = tuple(trained(file)[0] for file in options.ensemble or ())
    training_set = data.open_folder(root, classes, preprocess)
    return Opened(model, preprocess, training_set, root, classes, device, others)


def loss_of(one_logit: bool) -> nn.Module | None:
    """The loss of a model with one logit for two classes; None, cross-entropy, for others."""
    return nn.BCEWithLogitsLoss(reduction="none") if one_logit else None


def score_of(
    options: argparse.Namespace,
    asked: str,
    opened: Opened,
    loss_fn: nn.Module | None,
    kept: Path | None = None,
) -> Score | str:
    """The score that is asked for; one with a curvature from a file, which is written if need be.

    Args:
        options: Those of the command.
        asked: The name of the score.
        opened: What it is a score of; with ``--ensemble`` it is the mean over other trainings, too.
        loss_fn: The model's loss; None for cross-entropy.
        kept: Where the command itself keeps a curvature, if it does: one that lies there is used,
            so no fit is announced.

    Raises:
        UserError: The options do not fit together, or the file is of another model or data.
    """
    model, training_set = opened.model, opened.training_set
    if opened.others:
        return scores.mean_over(asked, options, [model, *opened.others], training_set, loss_fn)
    if asked in scores.NEEDING_MORE and options.curvature is None:
        return scores.made(asked, options, model, training_set, loss_fn)
    if asked == WITH_CURVATURE and not _fitted_before(options, kept):
        count = min(len(training_set), FITTED_TO)  # type: ignore[arg-type]
        say(f"curvature is fitted to {count} of them first; --score grad-cos does without")
    if options.curvature is None:
        return asked
    if asked != WITH_CURVATURE:
        raise UserError(
            f"--curvature belongs to --score influence, not {asked}; leave out one of them"
        )
    file = Path(options.curvature).expanduser()
    with as_user_error(OSError), own_errors():
        if file.exists():
            curvature = load_curvature(file, model)
            return InfluenceScore(model, curvature, "cos", loss_fn)
        found = with_curvature(model, training_set, loss_fn, None, None, show_progress=True)
        found.curvature.save(file)  # type: ignore[attr-defined]
        return found


def _fitted_before(options: argparse.Namespace, kept: Path | None) -> bool:
    """Whether the curvature lies in a file: the one that is named, or else the kept one."""
    file = kept if options.curvature is None else Path(options.curvature).expanduser()
    return file is not None and file.exists()


def workers(device: torch.device, training_set: Dataset[Any]) -> int:
    """Processes that load pictures: a fast device would wait for one."""
    try:
        pickle.dumps(training_set)
    except Exception:  # a transform of the user's own that cannot be sent to a process
        return 0
    return 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)


@torch.no_grad()
def _tried(model: nn.Module, training_set: Dataset[Any]) -> str:
    """How many of some training images the model gets right, in words.

    A model that knows its training images shows that weights, classes and preparation are the
    right ones. Ones that do not fit give no error elsewhere, only a worthless explanation.
    """
    count = len(training_set)  # type: ignore[arg-type]
    places = torch.linspace(0, count - 1, min(count, _TRIED)).long().tolist()
    device = next(model.parameters()).device
    right = 0
    for place in places:
        image, label = training_set[place]
        logits = model(image.unsqueeze(0).to(device))
        said = int(logits > 0) if logits.numel() == 1 else int(logits.argmax())
        right += said == label
    text = f"{right} of {len(places)} training images tried"
    if 2 * right < len(places):
        text += " (few: do --weights, --data and the preparation of the images belong together?)"
    return text

"""``captum-tfa explain``: your model, your training images, your puzzling image."""

from __future__ import annotations

import argparse
import os
import pickle
import webbrowser
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
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
from captum_tfa.report import Explanation, TrainingExample, explain
from captum_tfa.report.arguments import (
    DEFAULT_SCORE,
    FITTED_TO,
    WITH_CURVATURE,
    with_curvature,
)
from captum_tfa.report.saving import FIGURE, REPORT, try_destination
from captum_tfa.scores import InfluenceScore, Score

# Training images that are tried out, to see whether model, weights and pictures fit together.
_TRIED = 64


def run(options: argparse.Namespace) -> None:
    """Does what the options say and prints what was found.

    Raises:
        UserError: Something that the user can put right.
    """
    asked: str = options.score or DEFAULT_SCORE
    scores.check_options(options, asked)
    with as_user_error(OSError):
        try_destination(options.out)
    device = models.choose_device(options.device)
    picture = data.load_image(options.image)
    root = data.training_root(options.data)
    classes = data.find_classes(root)
    label = None if options.label is None else data.class_index(options.label, classes)

    model, preprocess = models.build(options.model, len(classes))
    models.weights_into(model, options.model, options.weights)
    check_class_order(model, classes)
    model.to(device).eval()
    training_set = data.open_folder(root, classes, preprocess)
    image = prepared(preprocess, picture)
    one_logit = models.check_runs(model, image, len(classes))
    say(
        f"{len(training_set)} training images of {len(classes)} classes in {root}: "
        f"{data.listed(classes)}\n"
        f"images are prepared by {one_line(repr(preprocess))}\n"
        f"the model is right on {tried(model, training_set)}"
    )

    loss_fn = nn.BCEWithLogitsLoss(reduction="none") if one_logit else None
    index = None
    if options.index is not None:
        with as_user_error(OSError), own_errors():
            index = GradientIndex.open(options.index, training_set)
    others = [another(options, file, len(classes), device) for file in options.ensemble or ()]
    score = score_of(options, asked, model, others, training_set, loss_fn)
    explanation = explained(
        lambda: explain(
            model,
            training_set,
            image,
            label,
            options.top,
            options.nt_samples,
            score=score,
            index=index,
            method=_methods(options.method),
            layer=options.layer,
            loss_fn=None if isinstance(score, Score) else loss_fn,
            batch_size=options.batch_size,
            num_workers=workers(device, training_set),
            seed=options.seed,
            show_progress=True,
        )
    )
    explanation = replace(explanation, test_file=options.image, command=options.command_line)
    saved = save(explanation, options.out)
    say(f"\n{options.image}: {summary(explanation)}\n\n{saved}")
    if options.open:
        show(options.out)


def _methods(names: str | None) -> str | list[str] | None:
    """The methods of ``--method``, with commas between them."""
    return names.split(",") if names is not None and "," in names else names


def another(
    options: argparse.Namespace, file: str, num_classes: int, device: torch.device
) -> nn.Module:
    """The same model with the weights of another training."""
    model, _ = models.build(options.model, num_classes)
    models.weights_into(model, options.model, file)
    return model.to(device).eval()


def score_of(
    options: argparse.Namespace,
    asked: str,
    model: nn.Module,
    others: Sequence[nn.Module],
    training_set: Dataset[Any],
    loss_fn: nn.Module | None,
    kept: Path | None = None,
) -> Score | str:
    """The score that is asked for; one with a curvature from a file, which is written if need be.

    Args:
        options: Those of the command.
        asked: The name of the score.
        model: What is explained.
        others: Models of other trainings, over which the score is the mean.
        training_set: The training images.
        loss_fn: The model's loss; None for cross-entropy.
        kept: Where the command itself keeps a curvature, if it does: one that lies there is used,
            so no fit is announced.

    Raises:
        UserError: The options do not fit together, or the file is of another model or data.
    """
    if others:
        return scores.mean_over(asked, options, [model, *others], training_set, loss_fn)
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


def prepared(preprocess: models.Preprocess, picture: Any) -> torch.Tensor:
    """The picture as the model wants it, ``[C, H, W]``.

    Raises:
        UserError: The transform fails or gives anything else.
    """
    try:
        image = preprocess(picture)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"the model's preprocess fails on an image ({type(error).__name__}: {one_line(error)})"
        ) from error
    if not isinstance(image, torch.Tensor) or image.dim() != 3 or not image.is_floating_point():
        raise UserError(
            "the model's preprocess must give a floating-point tensor [C, H, W]; "
            "end it with ToTensor() or ConvertImageDtype(torch.float)"
        )
    return image


def explained(work: Callable[[], Explanation]) -> Explanation:
    """The result of ``work``, whose errors are written for users.

    Raises:
        UserError: It raised one of this package's errors, or the memory was too small.
    """
    try:
        with own_errors():
            return work()
    except torch.OutOfMemoryError as error:
        raise UserError("the device's memory is too small; give a smaller --batch-size") from error


def summary(explanation: Explanation) -> str:
    """What was asked and found, in plain words."""
    said = f"the model says {explanation.predicted_name} ({explanation.confidence:.1%})"
    agrees = explanation.label == explanation.predicted
    lines = [f"{said}; why {'' if agrees else 'not '}{explanation.label_name}?"]
    for title, way, examples in (
        ("proponents", "more", explanation.proponents),
        ("opponents", "less", explanation.opponents),
    ):
        lines.append(f"{title}: learning these makes {explanation.label_name} {way} likely here")
        lines.extend(listing(examples) or ["  none"])
    return "\n".join(lines)


def listing(examples: Iterable[TrainingExample]) -> list[str]:
    """One line an example: score, label, and where it is."""
    examples = list(examples)
    width = max((len(example.label_name) for example in examples), default=0)
    return [
        f"  {example.score_text}  {example.label_name:<{width}}  "
        f"{example.file or f'training image {example.index}'}"
        for example in examples
    ]


def save(explanation: Explanation, out: str) -> str:
    """Saves the explanation; where it lies, in words.

    Raises:
        UserError: It cannot be written there.
    """
    with as_user_error(OSError):
        folder = explanation.save(out)
    return (
        f"report: {folder / REPORT}\nfigure: {folder / FIGURE}\n"
        f"numbers and maps: beside them in {folder}"
    )


def show(out: str) -> None:
    """Opens the report in the user's browser, or says that there is none."""
    report = Path(out).expanduser().resolve() / REPORT
    try:
        shown = webbrowser.open(report.as_uri())
    except webbrowser.Error:
        shown = False
    if not shown:
        say(f"no browser can be opened from here; open {report} yourself")


def workers(device: torch.device, training_set: Dataset[Any]) -> int:
    """Processes that load pictures: a fast device would wait for one."""
    try:
        pickle.dumps(training_set)
    except Exception:  # a transform of the user's own that cannot be sent to a process
        return 0
    return 0 if device.type == "cpu" else min(8, os.cpu_count() or 1)


@torch.no_grad()
def tried(model: nn.Module, training_set: Dataset[Any]) -> str:
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

"""``captum-tfa explain``: your model, your training images, your puzzling image."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from captum_tfa.cli import data, models, scores
from captum_tfa.cli.errors import UserError, as_user_error, one_line, own_errors
from captum_tfa.cli.opened import loss_of, opened, score_of, workers
from captum_tfa.cli.output import say
from captum_tfa.report import Explanation, TrainingExample, explain
from captum_tfa.report.arguments import (
    DEFAULT_SCORE,
)
from captum_tfa.report.saving import FIGURE, REPORT, try_destination
from captum_tfa.scores import Score


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

    given = opened(options, device, root, classes)
    image = prepared(given.preprocess, picture)
    loss_fn = loss_of(models.check_runs(given.model, image, len(classes)))
    say(given.words())
    index = given.index(options, loss_fn, asked)
    score = score_of(options, asked, given, loss_fn)
    explanation = explained(
        lambda: explain(
            given.model,
            given.training_set,
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
            num_workers=workers(device, given.training_set),
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

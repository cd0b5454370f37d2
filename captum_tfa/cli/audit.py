"""``captum-tfa audit``: what is behind all mistakes of a model on a labelled test set."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from captum_tfa.auditing.audit import audit, curvature_file
from captum_tfa.auditing.labels import labels_of
from captum_tfa.auditing.result import Audit
from captum_tfa.auditing.retrain_check import Treated, retrain_check
from captum_tfa.auditing.writing import write_whole
from captum_tfa.cli import data, models, scores
from captum_tfa.cli.errors import UserError, as_user_error, own_errors
from captum_tfa.cli.explain import show
from captum_tfa.cli.opened import loss_of, opened, score_of, workers
from captum_tfa.cli.output import say
from captum_tfa.report.arguments import DEFAULT_SCORE
from captum_tfa.report.saving import REPORT
from captum_tfa.scores import Score

SUSPECTS, RETRAINING, PROGRESS = "suspects.csv", "retrain-check.txt", "progress"
_OURS = {REPORT, SUSPECTS, RETRAINING, PROGRESS}
_LISTED = 5  # kinds of mistakes that are told


def run(options: argparse.Namespace) -> None:
    """Does what the options say and prints what was found.

    Raises:
        UserError: Something that the user can put right.
    """
    asked: str = options.score or DEFAULT_SCORE
    scores.check_options(options, asked)
    with as_user_error(OSError):
        out = check_destination(options.out)
    train = None
    if options.retrain_check is not None:
        train = models.function_of(options.retrain_check, "--retrain-check", "MODULE:FUNCTION")
    device = models.choose_device(options.device)
    root = data.training_root(options.data)
    classes = data.find_classes(root)
    tests = test_root(options.data, options.test, root)
    given = opened(options, device, root, classes)
    model, training_set = given.model, given.training_set
    test_set = data.open_folder(tests, classes, given.preprocess)
    loss_fn = loss_of(models.check_runs(model, training_set[0][0], len(classes)))
    say(given.words(f"{len(test_set)} test images in {tests}\n"))
    index = given.index(options, loss_fn, asked)
    score = score_of(options, asked, given, loss_fn, curvature_file(out / PROGRESS / "audit"))
    found = _done(
        lambda: audit(
            model,
            training_set,
            test_set,
            folder=out / PROGRESS / "audit",
            score=score,
            index=index,
            method=options.method,
            max_mistakes=options.max_mistakes,
            k=options.top,
            controls=options.controls,
            nt_samples=options.nt_samples,
            loss_fn=None if isinstance(score, Score) else loss_fn,
            batch_size=options.batch_size,
            num_workers=workers(device, training_set),
            seed=options.seed,
            show_progress=True,
        )
    )
    found = replace(found, command=options.command_line)
    with as_user_error(OSError):
        report = found.report(out / REPORT).resolve()
        table = found.to_csv(out / SUSPECTS).resolve()
    say(f"\n{summary(found)}\n\nreport: {report}\nsuspects: {table}")
    if train is not None:
        _retrain(options, out, found, model, training_set, test_set, train)
    if options.open:
        show(options.out)


def test_root(training: str, given: str | None, root: Path) -> Path:
    """Where the test images are: as given, or ``test`` or ``val`` beside ``train``.

    Raises:
        UserError: There are none, or they are the training images.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".csv"):
            raise UserError(
                f"--test {given} is no folder and no .csv file; name test images with their "
                "classes, as for --data"
            )
        if path.resolve() == root.resolve():
            raise UserError(
                f"--test {given} is what the model was trained on; name images that it was not"
            )
        return path
    beside = Path(training).expanduser()
    for name in ("test", "val"):
        if root.name == "train" and (beside / name).is_dir():
            return beside / name
    raise UserError(
        f"--test is missing; name labelled test images, since {training} has no folder train with "
        "test or val beside it"
    )


def check_destination(out: str) -> Path:
    """The folder of the result, which is new, empty, or of an audit.

    Raises:
        FileExistsError: It is a file, or holds anything else.
    """
    folder = Path(out).expanduser()
    if not folder.exists():
        return folder
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder that is new or empty")
    strange = sorted({entry.name for entry in folder.iterdir()} - _OURS)
    if strange:
        raise FileExistsError(
            f"{folder} holds files that are no audit ({', '.join(strange[:3])}"
            f"{', ...' if len(strange) > 3 else ''}); name a folder that is new or empty"
        )
    return folder


def summary(found: Audit) -> str:
    """What was found, in plain words."""
    names = found.class_names
    lines = [
        f"the model is right on {found.accuracy:.1%} of {found.tested} test images; "
        f"{len(found.mistakes)} of its {found.all_mistakes} mistakes were explained",
        found.says,
    ]
    for pair in found.pairs[:_LISTED]:
        again = pair.opponents[:1]
        behind = (
            f"; training image {again[0].index} ({names[again[0].label]}) is behind "
            f"{again[0].share:.0%} of these"
            if again
            else ""
        )
        lines.append(
            f"  {len(pair.mistakes)} x {names[pair.label]} called {names[pair.predicted]}{behind}"
        )
    lines.append(f"{len(found.suspected_labels)} training labels to check first")
    return "\n".join(lines)


def _retrain(
    options: argparse.Namespace,
    out: Path,
    found: Audit,
    model: nn.Module,
    training_set: Dataset[Any],
    test_set: Dataset[Any],
    train: Callable[..., Any],
) -> None:
    """Trains anew and says what came of it."""
    if not found.suspects:
        say("\nno suspects, so nothing is trained anew")
        return
    device = next(model.parameters()).device
    labels_of(training_set)  # a broken picture is told before the first training

    def trained(dataset: Dataset[Any], seed: int) -> nn.Module:
        try:
            new = train(dataset, seed)
        except Exception as error:
            raise UserError(
                f"--retrain-check {options.retrain_check} fails ({models.where(error)}); it is "
                "called with a data set of (image, label) and a seed"
            ) from error
        if not isinstance(new, nn.Module):
            raise UserError(
                f"--retrain-check {options.retrain_check} returns a {type(new).__name__}; it must "
                "return the trained torch.nn.Module, in evaluation mode"
            )
        return new.to(device)

    results: tuple[Treated, ...] = _done(
        lambda: retrain_check(
            found,
            model,
            training_set,
            test_set,
            trained,
            top=options.retrain_top,
            seeds=options.retrain_seeds,
            folder=out / PROGRESS / "retraining",
            show_progress=True,
        )
    )
    text = "\n".join(map(str, results))
    with as_user_error(OSError):
        file = write_whole(out / RETRAINING, text + "\n").resolve()
    say(f"\n{text}\n\nretraining: {file}")


def _done(work: Callable[[], Any]) -> Any:
    """The result of ``work``, whose errors are written for users.

    Raises:
        UserError: It raised one of this package's errors, or the memory was too small.
    """
    try:
        with as_user_error(OSError, ImportError), own_errors():
            return work()
    except torch.OutOfMemoryError as error:
        raise UserError("the device's memory is too small; give a smaller --batch-size") from error

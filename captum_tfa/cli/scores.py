"""Scores that the command line makes of files and of the training images."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from captum_tfa.cli.errors import UserError, own_errors
from captum_tfa.report.arguments import choose_score, with_curvature
from captum_tfa.scores import EnsembleScore, RepresenterScore, Score, TracInScore

NEEDING_MORE = ("tracin", "representer")
"""The names of these scores."""


def check_options(options: argparse.Namespace, asked: str) -> None:
    """Raise if options about checkpoints or several models do not go with the others.

    Raises:
        UserError: They do.
    """
    given = {"--checkpoints": options.checkpoints, "--learning-rates": options.learning_rates}
    for name, value in given.items():
        if value is not None and asked != "tracin":
            raise UserError(f"{name} belongs to --score tracin, not {asked}; leave out one of them")
    if asked == "tracin" and not options.checkpoints:
        raise UserError(
            "--score tracin needs --checkpoints: state dicts of the model along its training, .pt, "
            ".pth or .safetensors"
        )
    if options.ensemble:
        reasons = (
            ("--score tracin", asked == "tracin", "its checkpoints are of one training"),
            ("--curvature", options.curvature is not None, "each model has one of its own"),
        )
        for name, there, reason in reasons:
            if there:
                raise UserError(f"{name} does not go with --ensemble: {reason}; leave out one")


def made(
    asked: str,
    options: argparse.Namespace,
    model: nn.Module,
    training_set: Dataset[Any],
    loss_fn: nn.Module | str | None,
) -> Score:
    """The score of a name in `NEEDING_MORE`.

    Raises:
        UserError: It cannot be made of this model or these files.
    """
    with own_errors():
        if asked == "tracin":
            rates = options.learning_rates or [1.0]
            return TracInScore(
                model,
                options.checkpoints,
                rates[0] if len(rates) == 1 else rates,
                loss_fn,
            )
        last = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not last:
            raise UserError("--score representer needs a model that ends in a linear layer")
        return RepresenterScore(model, training_set, last[-1], loss_fn=loss_fn)


def mean_over(
    asked: str,
    options: argparse.Namespace,
    models: Sequence[nn.Module],
    training_set: Dataset[Any],
    loss_fn: nn.Module | str | None,
) -> EnsembleScore:
    """The mean of a score over several models; one with curvature is fitted to each.

    Raises:
        UserError: There is no score of this name, or it cannot be made of these models.
    """

    def of(model: nn.Module) -> Score:
        if asked in NEEDING_MORE:
            return made(asked, options, model, training_set, loss_fn)
        chosen = choose_score(asked, model, loss_fn, None, None)
        return chosen or with_curvature(model, training_set, loss_fn, None, None, True)

    with own_errors():
        return EnsembleScore([of(model) for model in models])

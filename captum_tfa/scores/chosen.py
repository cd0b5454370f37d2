"""Which score a function that takes a model and a score works with."""

from __future__ import annotations

from torch import nn

from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.scores.grad_cos import GradCosScore
from captum_tfa.scores.score import Score


def chosen_score(
    model: nn.Module,
    score: Score | None,
    loss_fn: LossFn | str | None = None,
    output_fn: OutputFn | None = None,
) -> Score:
    """The score that was given, or grad-cos of the model.

    Args:
        model: the model that is asked about.
        score: any score of it; its own loss counts. ``None``: grad-cos, with the two that follow.
        loss_fn: as for `Score`.
        output_fn: as for `Score`.

    Raises:
        TypeError: ``score`` is none.
        ValueError: it belongs to another model, or a loss is given beside it.
    """
    if score is None:
        return GradCosScore(model, loss_fn, output_fn)
    if not isinstance(score, Score):
        raise TypeError(
            f"score is a {type(score).__name__}; give a score such as "
            "InfluenceScore(model, curvature), or None for grad-cos."
        )
    if score.model is not model:
        raise ValueError(
            "score belongs to another model; make it of the model that is asked about."
        )
    given = {"loss_fn": loss_fn, "output_fn": output_fn}
    twice = [name for name, value in given.items() if value is not None]
    if twice:
        raise ValueError(
            f"{' and '.join(twice)} and score are given; a score has its own: give it when the "
            "score is made."
        )
    return score

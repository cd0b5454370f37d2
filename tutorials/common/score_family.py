"""Every score of one trained network, with and without learned weights of its layers.

All give ``[Q, N]``, higher is more helpful. A weighted score is the weighted sum of what each layer
contributes, so contributions are computed once. Weights are learned from queries of their own, and
from their rankings alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import GradCosScore, InfluenceScore, ScoreInfluence, TracInScore, TrakInfluence
from captum_tfa.curvature import fit_curvature
from captum_tfa.influence.learning_weights import best_weights, of_one_size
from captum_tfa.scores import RepresenterScore, Score
from common.rankings import State

WEIGHTED = ", learned weights"  # follows the name of a score
K, REGULARISATION, STEPS, LEARNING_RATE = 10, 0.01, 300, 0.05  # the defaults of learn_weights
SPELLED = {
    "ekfac": "EK-FAC",
    "kfac": "K-FAC",
    "fisher": "Fisher",
    "datainf": "DataInf",
    "arnoldi": "Arnoldi",
}
# Each layer's contribution is a solution of its own there, which is too dear for weights; and a
# representer has one layer.
WHOLE = ("representer", "fisher", "datainf", "arnoldi")


def made(
    kind: str,
    model: nn.Sequential,
    states: Sequence[State],
    train: TensorDataset,
    curvature_of: int,
) -> tuple[Score, tuple[str, ...]]:
    """A score, and how it is called without its norms and, if it has any, with them.

    Args:
        kind: "gradients", "TracIn", "representer", or a kind of curvature.
        model: The network, whose last module is its last linear layer.
        states: Its checkpoints.
        train: What it was trained on.
        curvature_of: To how many examples a curvature without blocks is fitted.
    """
    if kind == "gradients":
        return GradCosScore(model), ("grad-dot", "grad-cos")
    if kind == "TracIn":
        return TracInScore(model, list(states)), ("TracIn",)
    if kind == "representer":
        return RepresenterScore(model, train, str(len(model) - 1)), ("representer",)
    name = f"influence, {SPELLED.get(kind, kind)}"
    few: dict[str, Any] = {}
    if kind in WHOLE:
        few = {"max_examples": min(curvature_of, len(train)), "iterations": 50}
    curvature = fit_curvature(model, train, kind, **few)  # type: ignore[arg-type]
    if kind in WHOLE:
        return InfluenceScore(model, curvature, normalise=None), (name,)
    return InfluenceScore(model, curvature), (name, f"{name} / norms")


def family(
    kind: str,
    score: Score,
    names: Sequence[str],
    train: TensorDataset,
    queries: TensorDataset,
    learners: TensorDataset,
) -> dict[str, Tensor]:
    """The scores of one kind: ``[Q, N]`` by name, and what was learned for them, ``[G]``.

    Args:
        kind: As for `made`, which also gives ``score`` and ``names``.
        score: The score.
        names: How it is called.
        train: What is ranked.
        queries: What is asked.
        learners: Queries from which weights are learned; others than ``queries``.
    """
    if kind in WHOLE:
        return {names[0]: ScoreInfluence(score, train).influence(queries.tensors)}
    return both_ways(ScoreInfluence(score, train), names, queries, learners)


def both_ways(
    influence: ScoreInfluence | TrakInfluence,
    names: Sequence[str],
    queries: TensorDataset,
    learners: TensorDataset,
) -> dict[str, Tensor]:
    """As `family`, of any ranking that tells its layers apart."""
    sides = zip(queries.tensors, learners.tensors, strict=True)
    asked = tuple(torch.cat(side) for side in sides)
    table: Any = influence.influence(asked, by_group="layer")
    found = {}
    for name, parts in zip(names, (table.contributions, table.parts), strict=False):
        own, theirs = parts.split([len(queries), len(learners)])
        weights, _, _ = best_weights(of_one_size(theirs), K, REGULARISATION, STEPS, LEARNING_RATE)
        found[name] = own.sum(-1)
        found[name + WEIGHTED] = own @ weights
        found[weights_of(name)] = weights
    return found


def weights_of(name: str) -> str:
    """Under which name the weights of a score stand."""
    return f"weights of {name}"

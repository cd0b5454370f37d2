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

from captum_tfa import GradCosScore, InfluenceScore, ScoreInfluence, TracInScore
from captum_tfa.curvature import fit_curvature
from captum_tfa.influence.learning_weights import best_weights, of_one_size
from captum_tfa.scores import RepresenterScore, Score
from common.rankings import State

WEIGHTED = ", learned weights"  # follows the name of a score
K, REGULARISATION, STEPS, LEARNING_RATE = 10, 0.01, 300, 0.05  # the defaults of learn_weights
NORMALISED = " / norms"


def family(
    kind: str,
    model: nn.Sequential,
    states: Sequence[State],
    train: TensorDataset,
    queries: TensorDataset,
    learners: TensorDataset,
    curvature_of: int,
) -> dict[str, Tensor]:
    """The scores of one kind: ``[Q, N]`` by name, and what was learned for them, ``[G]``.

    Args:
        kind: "gradients", "TracIn", "representer", or a kind of curvature.
        model: The network, whose last module is its last linear layer.
        states: Its checkpoints.
        train: What it was trained on.
        queries: What is asked.
        learners: Queries from which weights are learned; others than ``queries``.
        curvature_of: To how many examples a curvature without blocks is fitted.
    """
    if kind == "gradients":
        return both_ways(GradCosScore(model), ("grad-dot", "grad-cos"), train, queries, learners)
    if kind == "TracIn":
        return both_ways(TracInScore(model, states), ("TracIn",), train, queries, learners)
    if kind == "representer":
        last = RepresenterScore(model, train, str(len(model) - 1))
        return {"representer": ScoreInfluence(last, train).influence(queries.tensors)}
    name = f"influence, {SPELLED.get(kind, kind)}"
    if kind in OF_THE_WHOLE:
        few = {"max_examples": min(curvature_of, len(train)), "iterations": 50}
        curvature = fit_curvature(model, train, kind, **few)  # type: ignore[arg-type]
        score = InfluenceScore(model, curvature, normalise=None)
        return {name: ScoreInfluence(score, train).influence(queries.tensors)}
    curvature = fit_curvature(model, train, kind)  # type: ignore[arg-type]
    score = InfluenceScore(model, curvature)
    return both_ways(score, (name, name + NORMALISED), train, queries, learners)


# Here each layer's contribution is a solution of its own: too dear for weights.
OF_THE_WHOLE = ("fisher", "datainf", "arnoldi")
SPELLED = {
    "ekfac": "EK-FAC",
    "kfac": "K-FAC",
    "fisher": "Fisher",
    "datainf": "DataInf",
    "arnoldi": "Arnoldi",
}


def both_ways(
    score: Score,
    names: Sequence[str],
    train: TensorDataset,
    queries: TensorDataset,
    learners: TensorDataset,
) -> dict[str, Tensor]:
    """A score, and what it is over its norms: each as it is, weighted, and the weights."""
    sides = zip(queries.tensors, learners.tensors, strict=True)
    asked = tuple(torch.cat(side) for side in sides)
    table: Any = ScoreInfluence(score, train).influence(asked, by_group="layer")
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

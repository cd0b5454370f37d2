"""What every score says of a training example's label, with and without learned weights.

Suspicious is an example that influences itself much, and one that opposes held-out images: in the
mean over them, or one of them most of all. Higher is more suspicious, ``[N]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    GradientIndex,
    InfluenceScore,
    ParameterWeights,
    ProjectedInfluence,
    ScoreInfluence,
    TrakInfluence,
)
from captum_tfa.scores import Score
from captum_tfa.scores.groups import groups_of
from common.kept_scores import Asked
from common.rankings import EKFAC, State, tracin_fast, trak
from common.score_family import WEIGHTED, WHOLE, both_ways, family, made, weights_of

SELF, MEAN, LOWEST = "self-influence, {}", "−mean {}", "−lowest {}"


def suspicions_of(
    kind: str,
    model: nn.Sequential,
    states: Sequence[State],
    asked: Asked,
    dimension: int,
    folder: Path,
) -> dict[str, Tensor]:
    """The suspicions of one kind of score, by name.

    Args:
        kind: "loss", "TRAK", a peer ("TracInCPFast (captum)", "EK-FAC (kronfluence)", "TRAK
            (traker)"), or as for `made`.
        model: The network, trained with wrong labels.
        states: Its checkpoints.
        asked: The data; the training set with its wrong labels.
        dimension: Of TRAK's projections.
        folder: For the index that TRAK needs.
    """
    train, queries, learners = asked
    if kind == "loss":
        return {"loss": losses(model, train)}
    if kind == "TRAK":
        score = GradDotScore(model, loss_fn="margin")
        index = GradientIndex.build(score, train, folder, dimension)
        itself = ProjectedInfluence(score, index, 1e-3).self_influence()
        doubt = -torch.expm1(-losses(model, train))  # 1 − p
        found = both_ways(TrakInfluence(score, index), (kind,), queries, learners)
        return {SELF.format(kind): itself * doubt, **of_tables(found)}
    if kind == "TRAK (traker)":
        return over_queries(kind, trak([model], train, queries, dimension))
    if kind == "TracInCPFast (captum)":
        table, itself = tracin_fast(model, states, train, queries)
        return {SELF.format(kind): itself, **over_queries(kind, table)}
    if kind == "EK-FAC (kronfluence)":
        table, itself = EKFAC(model, train).scores(queries)
        return {SELF.format(kind): itself, **over_queries(kind, table)}
    score, names = made(kind, model, states, train, len(train))
    found = family(kind, score, names, train, queries, learners)
    alone = _without_norms(score)
    of_itself = {names[0]: alone}
    if kind not in WHOLE:
        groups = groups_of(model, None, "layer")
        weights = tuple(found[weights_of(names[0])].tolist())
        of_itself[names[0] + WEIGHTED] = alone.weighted(ParameterWeights(groups, weights))
    suspicions = {
        SELF.format(name): ScoreInfluence(one, train).self_influence()
        for name, one in of_itself.items()
    }
    return {**suspicions, **of_tables(found)}


def of_tables(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`over_queries` of each score among scores and weights."""
    tables = {name: table for name, table in found.items() if table.ndim == 2}
    each = [over_queries(name, table) for name, table in tables.items()]
    return {name: values for one in each for name, values in one.items()}


def over_queries(name: str, table: Tensor) -> dict[str, Tensor]:
    """From scores ``[Q, N]``: minus their mean over queries, and minus the lowest of them."""
    return {MEAN.format(name): -table.mean(0), LOWEST.format(name): -table.amin(0)}


@torch.no_grad()
def losses(model: nn.Module, data: TensorDataset) -> Tensor:
    """The cross-entropy of each example, ``[N]``."""
    sides = zip(*(tensor.split(256) for tensor in data.tensors), strict=True)
    return torch.cat([nn.functional.cross_entropy(model(x), y, reduction="none") for x, y in sides])


def _without_norms(score: Score) -> Score:
    if isinstance(score, GradCosScore):
        return GradDotScore(score.model)
    if isinstance(score, InfluenceScore):
        return InfluenceScore(score.model, score.curvature, normalise=None)
    return score

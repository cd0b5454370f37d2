"""Learn from a ranking itself which groups of parameters it should trust [li2026learning].

With the contributions ``c_j(q, n)`` of groups ``j`` to the scores of queries ``q``, computed once:

    τ(q, n; w) = Σ_j w_j c_j(q, n) ,                          w = softmax(a)
    loss(q; w) = − mean_{n in the top k of τ(q, ·; w)} τ(q, n; w) / ‖τ(q, ·; w)‖₂
    w* = argmin  E_q loss(q; w) + λ ‖w‖²

The top ``k`` are taken anew at every step. What stands above is a ratio of signal to noise: groups
that agree on a few training examples gain weight, groups whose scores are spread over all lose it.
No ground truth is asked. Contributions are taken over the norms of the score, which do not depend
on the group, so that ``w = 1`` is the score itself.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from captum_tfa.gradients.batches import split
from captum_tfa.influence.projected_scores import ProjectedScores
from captum_tfa.influence.score_influence import ScoreInfluence
from captum_tfa.scores.by_group import InfluenceByGroup, groups_of_score
from captum_tfa.scores.groups import Grouping
from captum_tfa.scores.weights import ParameterWeights, query_hashes


def learn_weights(
    influence: ScoreInfluence | ProjectedScores,
    queries: Any,
    k: int = 10,
    regularisation: float = 0.01,
    by_group: Grouping = "layer",
    steps: int = 300,
    learning_rate: float = 0.05,
) -> ParameterWeights:
    """Weights of groups of parameters under which the queries' rankings stand out most.

    One ranking of the training set for the contributions ``[Q, N, G]``, which are held; then
    ``steps`` of Adam, which take seconds. Nothing is random. Source: [li2026learning]_.

    Queries that share one attribute (a class, a style, a background) give weights for that
    attribute.

    Args:
        influence: a ranking by any score: grad-dot, grad-cos, TracIn, influence with curvature; or
            `ProjectedInfluence` or `TrakInfluence`, over an index.
        queries: test images ``[Q, ...]``, or ``(test_images, labels)``, as for
            `ScoreInfluence.influence`. What is measured later must be measured on others.
        k: how many of the highest scores of a query count as its signal, from 1 to the number of
            training examples less 1.
        regularisation: ``λ``, at least 0: how strongly weights are held together.
        by_group: what shares a weight, as for `Score.by_parameter`.
        steps: of the optimiser, at least 1.
        learning_rate: of the optimiser, above 0, in units of ``a``.

    Returns:
        The weights, above 0, with a sum of 1; ``learned`` tells the settings, and the loss at equal
        weights and at the end.

    Raises:
        TypeError: ``influence`` is none.
        ValueError: a number out of its range, or a query to which nothing contributes; otherwise
            as `ScoreInfluence.influence`.

    Example::

        >>> influence = ScoreInfluence(score, train_dataset)
        >>> weights = learn_weights(influence, (queries, labels), k=10)
        >>> better = ScoreInfluence(score.weighted(weights), train_dataset)
    """
    if not isinstance(influence, ScoreInfluence | ProjectedScores):
        raise TypeError(
            f"influence is a {type(influence).__name__}; give ScoreInfluence(score, train_dataset)."
        )
    _check(k, regularisation, steps, learning_rate)
    found = influence.influence(queries, by_group=by_group)
    assert isinstance(found, InfluenceByGroup), "by_group was given"
    started = time.perf_counter()
    count = found.parts.shape[1]
    if k >= count:
        raise ValueError(f"k is {k} for {count} training examples; it must be below their number.")
    parts = of_one_size(found.parts)
    weights, first, last = best_weights(parts, k, regularisation, steps, learning_rate)
    learned = {
        "score": influence.score.name if isinstance(influence, ScoreInfluence) else influence.name,
        "k": int(k),
        "regularisation": float(regularisation),
        "steps": int(steps),
        "learning_rate": float(learning_rate),
        "queries": len(parts),
        "training_examples": count,
        "loss_at_equal_weights": first,
        "loss": last,
        "seconds": round(time.perf_counter() - started, 3),
    }
    groups = groups_of_score(influence.score, by_group)
    hashes = query_hashes(split(queries)[0])
    return ParameterWeights(groups, tuple(weights.tolist()), learned, frozenset(hashes))


def weights_loss(parts: Tensor, weights: Tensor, k: int, regularisation: float) -> Tensor:
    """The mean of ``loss(q; w)`` over queries, with ``λ ‖w‖²``.

    Args:
        parts: ``c_j(q, n)``, ``[Q, N, G]``.
        weights: ``w``, ``[G]``.
        k: how many of the highest count.
        regularisation: ``λ``.
    """
    scores = parts @ weights
    signal = scores.topk(k, dim=1).values.mean(1)
    ratio: Tensor = signal / scores.norm(dim=1)
    return regularisation * weights.square().sum() - ratio.mean()


def best_weights(
    parts: Tensor, k: int, regularisation: float, steps: int, learning_rate: float
) -> tuple[Tensor, float, float]:
    """The weights of least loss that are met on the way from equal ones.

    Args:
        parts: contributions of one size, ``[Q, N, G]``; see `of_one_size`.
        k: as for `learn_weights`; likewise the others.
        regularisation: likewise.
        steps: likewise.
        learning_rate: likewise.

    Returns:
        The weights ``[G]``, the loss at equal weights, and theirs.
    """
    with torch.inference_mode(False), torch.enable_grad():
        logits = torch.zeros(parts.shape[2], dtype=parts.dtype, requires_grad=True)
        optimiser = torch.optim.Adam([logits], learning_rate)
        best, first, last = logits.detach().softmax(0), math.inf, math.inf
        for step in range(steps + 1):
            weights = logits.softmax(0)
            loss = weights_loss(parts, weights, k, regularisation)
            first = loss.item() if step == 0 else first
            if loss.item() < last:
                best, last = weights.detach().clone(), loss.item()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return best, first, last


def of_one_size(parts: Tensor) -> Tensor:
    """Contributions whose size no longer differs from query to query; the loss stays the same.

    Args:
        parts: ``[Q, N, G]``.

    Raises:
        ValueError: a query to which nothing contributes.
    """
    sizes = parts.flatten(1).abs().amax(1)
    if not bool((sizes > 0).all()):
        raise ValueError(
            f"Query {int((sizes == 0).nonzero()[0])} has a score of 0 with every training example, "
            "so nothing can be learned from it; leave it out."
        )
    return parts / sizes.view(-1, 1, 1)


def _check(k: int, regularisation: float, steps: int, learning_rate: float) -> None:
    for name, value in (("k", k), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}; it must be a whole number of at least 1.")
    if not (math.isfinite(regularisation) and regularisation >= 0):
        raise ValueError(f"regularisation is {regularisation!r}; it must be at least 0.")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate is {learning_rate!r}; it must be above 0.")

"""What groups of parameters contribute to scores: feature × data × *component*.

A score is an inner product of two gradients, and so a sum over parameters. ``K`` acts on the test
side, so what a group contributes is what is read of the test gradient there:

    c_j(q, n) = ⟨g_n, K P_j g_q⟩ = ⟨P_j g_q, Kᵀ g_n⟩ ,   Σ_j c_j = ⟨g_n, K g_q⟩ .
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients, outside_inference_mode
from captum_tfa.gradients.rule import Products
from captum_tfa.scores.groups import Grouping, Groups, groups_of
from captum_tfa.scores.pairing import Inputs, as_tensors, labels_for, same_dimensions
from captum_tfa.scores.score import Score
from captum_tfa.scores.sum_of_scores import SumOfScores


class InfluenceByGroup(NamedTuple):
    """Scores of pairs, and what each group of parameters contributes to them.

    Attributes:
        indices: which training examples, ``[Q, N]``, or ``[Q, k]`` for the most influential.
        influence_scores: their scores, likewise.
        contributions: ``[Q, N, G]``; they add up to the scores without their norms.
        parts: the same over the scores' norms; they add up to the scores.
        groups: the names of the groups, ``G``.
    """

    indices: Tensor
    influence_scores: Tensor
    contributions: Tensor
    parts: Tensor
    groups: tuple[str, ...]

    @classmethod
    def unpacked(cls, indices: Tensor, table: Tensor, groups: Groups) -> InfluenceByGroup:
        """From a table ``[Q, N, 1 + 2G]`` of scores, contributions and parts."""
        scores, contributions, parts = table.split([1, len(groups), len(groups)], -1)
        return cls(indices, scores[..., 0], contributions, parts, tuple(groups))


def groups_of_score(score: Score, by_group: Grouping) -> Groups:
    """The groups of a score's parameters; of a sum, they are the same for each of its parts.

    Raises:
        TypeError: as `groups_of`.
        ValueError: as `groups_of`, or the parts of a sum have other parameters.
    """
    groups = groups_of(score.model, score.choice, by_group)
    if isinstance(score, SumOfScores) and score.several_models:

        def same(part: Score) -> tuple[Tensor, ...]:
            if groups_of_score(part, by_group) != groups:
                raise ValueError(
                    "The models of this mean have other parameters each, so there are no groups "
                    "in common. Take each model's own score."
                )
            return ()

        score.over_parts(same)
    return groups


class PreparedByGroup:
    """Test gradients, prepared for a score as a whole and group by group.

    Args:
        score: no sum of scores.
        inputs: test images, each ``[Q, ...]``.
        target: labels ``[Q, ...]`` or ``None``.
        groups: of all parameters that count.
    """

    def __init__(
        self, score: Score, inputs: tuple[Tensor, ...], target: Tensor | None, groups: Groups
    ) -> None:
        self.score, self._names = score, list(groups.values())
        wholes: list[StoredGradients] = []
        parts: list[list[StoredGradients]] = []
        with torch.no_grad():
            for one in score._measured.of_tests(inputs, target):
                wholes.append(score.prepared(one))
                parts.append([_kept(part) for part in score.prepared_parts(one, self._names)])
        self._whole = StoredGradients.joined(wholes)
        self._parts = [StoredGradients.joined(part) for part in zip(*parts, strict=True)]
        found = [name for part in self._parts for name in part.by_name]
        #: Whether no two groups need products with the same parameter's gradient.
        self._apart = len(found) == len(set(found))

    def against(self, train_inputs: Inputs, train_target: object) -> Tensor:
        """Scores, contributions and parts of training examples, ``[B, Q, 1 + 2G]``.

        Args:
            train_inputs: as in `Score.forward`.
            train_target: likewise.
        """
        device = self.score._ready()
        train = as_tensors(train_inputs, "train_inputs", device)
        labels = labels_for(len(train[0]), train_target, "train_target", device)
        return self.score._gradients.apply(self._table, train, labels)

    def _table(self, train: Gradients) -> Tensor:
        inner, squares = self._products(train)
        total = _KnownProducts(train.values, train.terms, Products(inner.sum(-1), squares))
        ones = Products(torch.ones_like(inner[..., 0]), squares)
        scores = self.score.of(total, self._whole, None)
        scale = self.score.of(_KnownProducts(train.values, train.terms, ones), self._whole, None)
        parts = inner * scale.unsqueeze(-1)
        return torch.cat([scores.unsqueeze(-1), inner, parts], -1)

    def _products(self, train: Gradients) -> tuple[Tensor, Tensor]:
        """``c_j [B, Q, G]`` and ``‖g‖² [B]``."""
        if self._apart:
            merged = {name: term for part in self._parts for name, term in part.by_name.items()}
            found = train.products_by_parameter(StoredGradients(merged, self._whole.squares), None)
            squares = torch.stack([each.squares for each in found.values()]).sum(0)
            columns = [self._column(found, part, squares) for part in self._parts]
        else:
            squares = train.products(None, None).squares
            columns = [
                self._column(train.products_by_parameter(part, None), part, squares)
                for part in self._parts
            ]
        return torch.stack(columns, -1), squares

    def _column(
        self, found: Mapping[str, Products], part: StoredGradients, squares: Tensor
    ) -> Tensor:
        """What the parameters of one group's test gradients add up to, ``[B, Q]``."""
        total = squares.new_zeros(len(squares), len(self._whole.squares))
        for name in part.by_name:
            inner = found[name].inner if name in found else None
            total = total if inner is None else total + inner
        return total


@outside_inference_mode
def by_parameter(
    score: Score,
    train_inputs: Inputs,
    test_inputs: Inputs,
    test_target: object,
    train_target: object,
    by_group: Grouping,
) -> InfluenceByGroup:
    """See `Score.by_parameter`."""
    groups = groups_of_score(score, by_group)
    device = score._ready()
    train = as_tensors(train_inputs, "train_inputs", device)
    tests = as_tensors(test_inputs, "test_inputs", device)
    same_dimensions(tests, train, "test_inputs")
    if isinstance(score, SumOfScores):  # its parts are asked about the same labels
        test_target = score.predictions(tests) if test_target is None else test_target
        train_target = score.predictions(train) if train_target is None else train_target

    def of(part: Score) -> tuple[Tensor]:
        prepared = prepared_by_group(part, tests, test_target, groups)
        return (prepared.against(train, train_target),)

    table = score.over_parts(of)[0].transpose(0, 1)
    indices = torch.arange(table.shape[1], device=device).expand(table.shape[:2])
    return InfluenceByGroup.unpacked(indices, table, groups)


def prepared_by_group(
    score: Score, inputs: object, target: object, groups: Groups
) -> PreparedByGroup:
    """Test examples as they come from a caller, for a score that is no sum.

    Args:
        score: the score.
        inputs: test images ``[Q, ...]``, or a tuple for models with several inputs.
        target: labels ``[Q, ...]`` or ``None``.
        groups: from `groups_of_score`.
    """
    device = score._ready()
    images = as_tensors(inputs, "test_inputs", device)
    labels = labels_for(len(images[0]), target, "test_target", device, "test examples")
    return PreparedByGroup(score, images, labels, groups)


@dataclass(frozen=True)
class _KnownProducts(Gradients):
    """Gradients whose products are known already."""

    known: Products

    def products(self, tests: StoredGradients | None, rows: Tensor | None) -> Products:
        """What is known."""
        return self.known


def _kept(part: StoredGradients) -> StoredGradients:
    """Without the parameters for which there are but zeros."""
    kept = {
        name: term
        for name, term in part.by_name.items()
        if term.rule is not None or bool(term.delta.any())
    }
    return StoredGradients(kept, part.squares)

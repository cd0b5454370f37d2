"""Influence with curvature: the inner product of two gradients in the metric of the loss.

A gradient is ruled by what all images of a class share. Between the two gradients `InfluenceScore`
puts ``H⁻¹``, the inverse of the curvature of the training loss, which takes that out: directions
in which the loss is steep anyway count less [koh2017understanding].
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.gradients.rule import StoredTerm
from captum_tfa.scores.grad_cos import cosine
from captum_tfa.scores.score import Score, vanishing

NORMALISATIONS = (None, "cos", "theta", "ell")


class Inverse(Protocol):
    """What an `InfluenceScore` needs of a curvature."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that it is of."""
        ...

    def solve(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``H⁻¹ v`` for vectors ``[M, *parameter.shape]`` by name, differentiable in them."""
        ...


class InfluenceScore(Score):
    """``S = ⟨g_train, H⁻¹ g_test⟩``, divided by a norm or not.

    The negative of Koh and Liang's effect on the test loss of weighting the training example up:
    above 0 a proponent. ``H⁻¹`` acts on the test side, once a test example, so that a map costs
    what one of `GradCosScore` does; with ``"theta"`` and ``"ell"`` also on each training example.

    Args:
        model: the trained model, as for `Score`.
        curvature: from `fit_curvature` or `load_curvature`, of this model. Its parameters count.
        normalise: ``"cos"`` (default) divides by ``‖g_train‖ ‖H⁻¹ g_test‖``, so that no training
            example counts for its loss alone (own). ``None`` divides by nothing, ``"theta"`` by
            ``‖H⁻¹ g_train‖`` and ``"ell"`` by ``sqrt(g_train · H⁻¹ g_train)``, the RelatIF scores
            of [barshan2020relatif]; these two hold ``B`` gradients of the model's size at once.
        loss_fn: as for `Score`.
        output_fn: as for `Score`.
        measure_fn: as for `Score`.

    Raises:
        TypeError: ``curvature`` cannot solve.
        ValueError: ``normalise`` is none of these, or the curvature belongs to another model or to
            other weights of this one; otherwise as `Score`.

    Example::

        >>> curvature = fit_curvature(model, train_dataset)
        >>> score = InfluenceScore(model, curvature)
        >>> score(train_images, test_image, test_target=3, train_target=train_labels)  # [B]
    """

    def __init__(
        self,
        model: nn.Module,
        curvature: Inverse,
        normalise: str | None = "cos",
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        measure_fn: LossFn | str | None = None,
    ) -> None:
        if not callable(getattr(curvature, "solve", None)) or not hasattr(curvature, "names"):
            raise TypeError(
                f"curvature is a {type(curvature).__name__}; give what fit_curvature(model, "
                "train_dataset) or load_curvature(file, model) returns."
            )
        if normalise not in NORMALISATIONS:
            raise ValueError(
                f"normalise is {normalise!r}; it must be one of "
                f"{', '.join(map(repr, NORMALISATIONS))}."
            )
        super().__init__(model, loss_fn, output_fn, curvature.names, measure_fn)
        if hasattr(curvature, "check_model"):
            curvature.check_model(model)
        self.curvature, self.normalise = curvature, normalise
        self.symmetric = normalise is None and measure_fn is None
        self.name = "influence" if normalise is None else f"influence ({normalise})"

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """``H⁻¹ g_test``."""
        if not tests.by_name:  # nothing is left of them
            return tests
        dense = {name: gradient.dense for name, gradient in tests.by_name.items()}
        solved = self.curvature.solve(dense)
        by_name = {name: StoredTerm(None, (), vector.detach()) for name, vector in solved.items()}
        squares = torch.stack([gradient.squares for gradient in by_name.values()]).sum(0)
        return StoredGradients(by_name, squares)

    def prepared_parts(
        self, tests: StoredGradients, groups: Sequence[Collection[str]]
    ) -> list[StoredGradients]:
        """As `Score.prepared_parts`; one solution where each block of ``H`` is in one group."""
        blocks = getattr(self.curvature, "blocks", None)
        if blocks is None or any(
            0 < len(block.intersection(names)) < len(block) for block in blocks for names in groups
        ):
            return super().prepared_parts(tests, groups)
        whole = self.prepared(tests)
        return [whole.only(names) for names in groups]

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """``⟨g_train, H⁻¹ g_test⟩`` over its norm; a gradient that is zero gives score 0."""
        inner, squares, test_squares = self.compared(train, tests, rows)
        if self.normalise == "cos":
            return cosine(inner, squares, test_squares)
        zero = vanishing(squares) | vanishing(test_squares)
        if self.normalise is None:
            return inner.masked_fill(zero, 0)
        own = self._own_squares(train)
        own = own if rows is not None else own[:, None]
        return (inner / own.masked_fill(vanishing(squares), 1).sqrt()).masked_fill(zero, 0)

    def _own_squares(self, train: Gradients) -> Tensor:
        """The square of the norm that a RelatIF score divides by, ``[B]``."""
        dense = train.dense()
        solved = self.curvature.solve(dense)
        other = solved if self.normalise == "theta" else dense
        parts = [(solved[name] * other[name]).flatten(1).sum(1) for name in dense]
        return torch.stack(parts).sum(0)

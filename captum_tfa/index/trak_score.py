"""TRAK as a score of pairs of images, for maps: which parts of a training image make it what it is?

A projection that is read of one gradient can be written into the other, ``⟨Sg, u⟩ = ⟨g, Sᵀu⟩``. So
the projected curvature becomes a matrix between the two gradients, as any other is.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.gradients.losses import OutputFn
from captum_tfa.gradients.rule import StoredTerm
from captum_tfa.gradients.selection import ParameterChoice
from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.second_moment import Preconditioner, second_moment
from captum_tfa.scores import Score
from captum_tfa.scores.score import vanishing


class TrakScore(Score):
    """``S = ⟨g_train, Sᵀ (ΦᵀΦ/N + λ)⁻¹ S g_test⟩ · (1 − p_train)``, TRAK of one model.

    ``g`` is the gradient of the margin. Above 0 a proponent. The score of a pair is the one that
    `TrakInfluence` ranks by, which is the quick way to rank; this one is differentiable in the
    training image, so it can be mapped. Source: [park2023trak]_.

    Args:
        model: the trained model, as for `Score`.
        index: of this model, built with ``loss_fn="margin"``.
        damping: ``ρ`` as for `TrakInfluence`.
        output_fn: as for `Score`.
        parameters: as for `Score`; those of the index.

    Raises:
        TypeError: ``index`` is no index; otherwise as `Score`.
        ValueError: as `ProjectedInfluence`.

    Example::

        >>> tfa = TrainingGradient(TrakScore(model, index))
        >>> tfa.attribute(train_image, label, (test_image, test_label))
    """

    name = "TRAK"

    def __init__(
        self,
        model: nn.Module,
        index: GradientIndex,
        damping: float = 1e-3,
        output_fn: OutputFn | None = None,
        parameters: ParameterChoice = None,
    ) -> None:
        super().__init__(model, "margin", output_fn, parameters)
        if not isinstance(index, GradientIndex):
            raise TypeError(
                f"index is a {type(index).__name__}; give what GradientIndex.open returns."
            )
        index.refuse_other_score(self)
        self.index = index
        self.preconditioner = Preconditioner(second_moment(index), damping)
        self.symmetric = False

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """``Sᵀ (ΦᵀΦ/N + λ)⁻¹ S g_test``."""
        if not tests.by_name:  # nothing is left of them
            return tests
        projected = self.index.project(tests)
        solved = self.preconditioner.solve(projected.cpu()).to(tests.squares)
        by_name = {
            name: StoredTerm(None, (), gradient)
            for name, gradient in self.index.project_back(solved).items()
        }
        squares = torch.stack([term.squares for term in by_name.values()]).sum(0)
        return StoredGradients(by_name, squares)

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """The inner product times ``1 − p`` of the training example's label."""
        inner, squares, test_squares = self.compared(train, tests, rows)
        inner = inner.masked_fill(vanishing(squares) | vanishing(test_squares), 0)
        # The loss is minus the margin: 1 − p = sigmoid(−o).
        doubt = train.values.sigmoid()
        return inner * (doubt[:, None] if rows is None else doubt)

"""Grad-dot, the inner product of parameter gradients [charpiat2019input]."""

from __future__ import annotations

from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.scores.score import Score, vanishing


class GradDotScore(Score):
    """``S = ⟨g_train, g_test⟩``, in units of squared loss over squared parameter.

    To first order, a gradient step of size ``η`` on the training example lowers the loss of the
    test example by ``η S``. Large gradients, as of atypical or mislabelled examples, dominate;
    `GradCosScore` takes them out. Arguments as in `Score`; the method is of
    [charpiat2019input]_.

    Example::

        >>> score = GradDotScore(model)
        >>> score(train_images, test_image, test_target=3, train_target=train_labels)  # [B]
    """

    name = "grad-dot"

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """``⟨g_train, g_test⟩``; 0, with a map of zeros, where one of the gradients is zero."""
        inner, squares, test_squares = self.compared(train, tests, rows)
        return inner.masked_fill(vanishing(squares) | vanishing(test_squares), 0)

    def of_same(self, train: Gradients) -> Tensor:
        """``‖g‖²``, from the factors of ``g``."""
        squares = train.products(None, None).squares
        self.check_squares(squares, "training")
        return squares.masked_fill(vanishing(squares), 0)

"""Grad-dot, the inner product of parameter gradients [charpiat2019input]."""

from __future__ import annotations

from torch import Tensor

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

    def combine(self, inner: Tensor, train_squares: Tensor, test_squares: Tensor) -> Tensor:
        """``inner`` itself, and 0, with a map of zeros, where one of the gradients is zero."""
        return inner.masked_fill(vanishing(train_squares) | vanishing(test_squares), 0)

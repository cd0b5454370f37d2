"""Grad-cos, the cosine of parameter gradients [charpiat2019input]."""

from __future__ import annotations

from torch import Tensor

from captum_tfa.scores.score import Score, vanishing


class GradCosScore(Score):
    """``S = ⟨g_train, g_test⟩ / (‖g_train‖ ‖g_test‖)``, within [-1, 1].

    How far the training example and the test example pull the parameters the same way, whatever
    the size of their losses; the score of the paper on training feature attribution
    [bacha2025training]_, equation 1, after [charpiat2019input]_. Arguments as in `Score`.

    Example::

        >>> score = GradCosScore(model)
        >>> score(train_images, test_image, test_target=3, train_target=train_labels)  # [B]
    """

    def combine(self, inner: Tensor, train_squares: Tensor, test_squares: Tensor) -> Tensor:
        """``inner / (‖g_train‖ ‖g_test‖)``, and 0 where one of the norms is."""
        zero = vanishing(train_squares) | vanishing(test_squares)
        # Roots one by one: the product of two squared norms may leave the range of float32.
        train_norms = train_squares.masked_fill(zero, 1).sqrt()
        test_norms = test_squares.masked_fill(zero, 1).sqrt()
        return (inner / train_norms / test_norms).masked_fill(zero, 0)

"""Grad-cos, the cosine of parameter gradients [charpiat2019input]."""

from __future__ import annotations

from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients
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

    name = "grad-cos"

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """``⟨g_train, g_test⟩ / (‖g_train‖ ‖g_test‖)``, and 0 where one of the norms is."""
        return cosine(*self.compared(train, tests, rows))

    def of_same(self, train: Gradients) -> Tensor:
        """1 for each example, and 0 where its norm is."""
        squares = train.products(None, None).squares
        self.check_squares(squares, "training")
        return cosine(squares, squares, squares)


def cosine(inner: Tensor, squares: Tensor, other_squares: Tensor) -> Tensor:
    """An inner product over two norms, and 0 where one of the norms is."""
    zero = vanishing(squares) | vanishing(other_squares)
    # Roots one by one: the product of two squared norms may leave the range of float32.
    norms = squares.masked_fill(zero, 1).sqrt()
    other_norms = other_squares.masked_fill(zero, 1).sqrt()
    return (inner / norms / other_norms).masked_fill(zero, 0)

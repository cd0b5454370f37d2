"""What of a score is linear in the training gradient: the norm of the training example held.

A cosine changes with a pixel for two reasons: the training gradient turns, and it grows or shrinks.
The second is no answer to "what does the *test image* have to do with it?": the norm does not know
the test image, and a cue that the model has fitted changes it much. `InnerProduct` keeps the first
and leaves the norms as they are for the pair that is asked about.
"""

from __future__ import annotations

from torch import Tensor

from captum_tfa.gradients import Gradients, TestGradients
from captum_tfa.scores.score import Score, vanishing


class InnerProduct(Score):
    """``c ⟨g_train, K g_test⟩`` of a score ``⟨g_train, K g_test⟩ / norms`` (own).

    With ``c = 1 / norms`` of a pair it is the pair's own score, and its maps say what the pixels do
    to the inner product alone. They also cost less, since no norm is differentiated.

    Args:
        score: the score whose numerator this is.
        scale: ``c``.

    Example::

        >>> inner = InnerProduct(score)(train_image, test_image, test_label, train_label)
        >>> held = InnerProduct(score, scale=value / inner)
        >>> TrainingIntegratedGradients(held).attribute(train_image, mean_image, train_label, test)
    """

    name = "inner product"

    def __init__(self, score: Score, scale: float = 1.0) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self._gradients, self._measured = score._gradients, score._measured
        self.symmetric = False
        self.score, self.scale = score, scale

    def prepared(self, tests: TestGradients) -> TestGradients:
        """``K g`` of the examples on the other side."""
        return self.score.prepared(tests)

    def of(self, train: Gradients, tests: TestGradients, rows: Tensor | None) -> Tensor:
        """``c ⟨g_train, K g_test⟩``, and 0 where a gradient is zero."""
        inner, squares, test_squares = self.products(train, tests, rows)
        return self.scale * inner.masked_fill(vanishing(squares) | vanishing(test_squares), 0)

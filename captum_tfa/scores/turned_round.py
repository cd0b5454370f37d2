"""A score from the test image's side: which of its pixels give a training image its say?

A symmetric score is its own answer, with the images' roles swapped. Another one is not: its norm,
or what it measures, belongs to one side. Then the answer is how ``⟨g_test, K g_train⟩`` depends on
the test image, over the denominator that the pair's own score has.
"""

from __future__ import annotations

from torch import Tensor

from captum_tfa.gradients import Gradients, TestGradients
from captum_tfa.scores.score import Score, vanishing


class TurnedRound(Score):
    """``c ⟨g_test, K g_train⟩``, whose "training" images are test images and the other way round.

    Args:
        score: the score whose other side this is. ``K`` is symmetric.
        scale: ``c``, one over the score's denominator for the pair that is asked about.

    Example::

        >>> inner = TurnedRound(score)(test_image, train_image, train_label, test_label)
        >>> other_side = TurnedRound(score, scale=value / inner)
        >>> TrainingGradient(other_side).attribute(test_image, test_label, (train_image, label))
    """

    symmetric = False
    name = "turned round"

    def __init__(self, score: Score, scale: float = 1.0) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self._gradients, self._measured = score._measured, score._gradients
        self.score, self.scale = score, scale

    def prepared(self, tests: TestGradients) -> TestGradients:
        """``K g_train``."""
        return self.score.prepared(tests)

    def of(self, train: Gradients, tests: TestGradients, rows: Tensor | None) -> Tensor:
        """``c ⟨g_test, K g_train⟩``, and 0 where a gradient is zero."""
        inner, squares, other_squares = self.products(train, tests, rows)
        return self.scale * inner.masked_fill(vanishing(squares) | vanishing(other_squares), 0)

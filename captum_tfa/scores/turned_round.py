"""A score from the test image's side: which of its pixels give a training image its say?

A symmetric score is its own answer, with the images' roles swapped. Another one is not: its norm,
or what it measures, belongs to one side. Then the answer is how ``⟨g_test, K g_train⟩`` depends on
the test image, over the denominator that the pair's own score has.
"""

from __future__ import annotations

from captum_tfa.scores.inner_product import InnerProduct
from captum_tfa.scores.score import Score


class TurnedRound(InnerProduct):
    """``c ⟨g_test, K g_train⟩``, whose "training" images are test images and the other way round.

    Args:
        score: the score whose other side this is. ``K`` is symmetric.
        scale: ``c``, one over the score's denominator for the pair that is asked about.

    Example::

        >>> inner = TurnedRound(score)(test_image, train_image, train_label, test_label)
        >>> other_side = TurnedRound(score, scale=value / inner)
        >>> TrainingGradient(other_side).attribute(test_image, test_label, (train_image, label))
    """

    name = "turned round"

    def __init__(self, score: Score, scale: float = 1.0) -> None:
        super().__init__(score, scale)
        self._gradients, self._measured = score._measured, score._gradients

"""A score from the test image's side: which of its pixels give a training image its say?

A symmetric score is its own answer, with the images' roles swapped. Another one is not: its norm,
or what it measures, belongs to one side. Then the answer is how ``⟨g_test, Kᵀ g_train⟩`` depends on
the test image, over the denominator that the pair's own score has.
"""

from __future__ import annotations

from captum_tfa.gradients import StoredGradients
from captum_tfa.scores.inner_product import Example, InnerProduct, scale_of
from captum_tfa.scores.score import Score
from captum_tfa.scores.sum_of_scores import changed


class TurnedRound(InnerProduct):
    """``c ⟨g_test, Kᵀ g_train⟩``, whose "training" images are test images and the other way round.

    Args:
        score: the score whose other side this is.
        scale: ``c``, one over the score's denominator for the pair that is asked about.

    `other_side` finds the ``c`` of a pair.
    """

    name = "turned round"
    sides_changed = True

    def __init__(self, score: Score, scale: float = 1.0) -> None:
        super().__init__(score, scale)
        self._gradients, self._measured = score._measured, score._gradients

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """``Kᵀ g`` of what is a training image to the score itself."""
        return self.score.prepared_back(tests)

    def prepared_back(self, trains: StoredGradients) -> StoredGradients:
        """``K g``."""
        return self.score.prepared(trains)


def other_side(score: Score, train: Example, test: Example) -> Score:
    """The score whose map on the test image says what its pixels do to the score of a pair.

    A symmetric score is its own.

    Args:
        score: any score.
        train: the training image, ``[1, ...]``, and its label ``[1]``.
        test: the test image and its label, likewise.

    Example::

        >>> other = other_side(score, (train_image, train_label), (test_image, test_label))
        >>> tfa = TrainingGradient(other)
        >>> tfa.attribute(test_image, test_label, (train_image, train_label))
    """

    def turned(part: Score) -> Score:
        if part.symmetric:
            return part
        return TurnedRound(part, scale_of(part, TurnedRound(part), train, test))

    return score if score.symmetric else changed(score, turned)

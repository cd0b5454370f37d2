"""What of a score is linear in the training gradient: the norm of the training example held.

A cosine changes with a pixel for two reasons: the training gradient turns, and it grows or shrinks.
The second is no answer to "what does the *test image* have to do with it?": the norm does not know
the test image, and a cue that the model has fitted changes it much. `InnerProduct` keeps the first
and leaves the norms as they are for the pair that is asked about.
"""

from __future__ import annotations

import torch
from torch import Tensor

from captum_tfa.gradients import Gradients, StoredGradients
from captum_tfa.scores.pairing import Inputs
from captum_tfa.scores.score import Score, vanishing
from captum_tfa.scores.sum_of_scores import changed

Example = tuple[Inputs, object]
"""An image ``[1, ...]``, or a tuple for models with several inputs, and its label ``[1]``."""


class InnerProduct(Score):
    """``c ⟨g_train, K g_test⟩`` of a score ``⟨g_train, K g_test⟩ / norms`` (own).

    With ``c = 1 / norms`` of a pair it is the pair's own score, and its maps say what the pixels do
    to the inner product alone. They also cost less, since no norm is differentiated.

    Args:
        score: the score whose numerator this is.
        scale: ``c``.

    `norm_held` finds the ``c`` of a pair.
    """

    name = "inner product"
    #: Whether the images have changed sides.
    sides_changed = False

    def __init__(self, score: Score, scale: float = 1.0) -> None:
        super().__init__(score.model, score.loss_fn, score.output_fn, score.choice)
        self._gradients, self._measured = score._gradients, score._measured
        self.measure_fn = score.measure_fn
        self.symmetric = False
        self.score, self.scale = score, scale
        self.weights = score.weights

    def prepared(self, tests: StoredGradients) -> StoredGradients:
        """``K g`` of the examples on the other side."""
        return self.score.prepared(tests)

    def prepared_back(self, trains: StoredGradients) -> StoredGradients:
        """``Kᵀ g``."""
        return self.score.prepared_back(trains)

    def of(self, train: Gradients, tests: StoredGradients, rows: Tensor | None) -> Tensor:
        """``c ⟨g_train, K g_test⟩``, and 0 where a gradient is zero."""
        inner, squares, test_squares = self.compared(train, tests, rows)
        return self.scale * inner.masked_fill(vanishing(squares) | vanishing(test_squares), 0)


def norm_held(score: Score, train: Example, test: Example) -> Score:
    """The score of one pair with its norms as they are: it equals the pair's own there.

    Args:
        score: any score; of a sum, each part's norms are held.
        train: the training image and its label.
        test: the test image and its label.

    Example::

        >>> held = norm_held(score, (train_image, train_label), (test_image, test_label))
        >>> tfa = TrainingIntegratedGradients(held)
        >>> tfa.attribute(train_image, mean_image, train_label, (test_image, test_label))
    """

    def held(part: Score) -> Score:
        if isinstance(part, InnerProduct):
            return part
        return InnerProduct(part, scale_of(part, InnerProduct(part), train, test))

    return changed(score, held)


def scale_of(score: Score, inner: Score, train: Example, test: Example) -> float:
    """``c`` with which ``c · inner`` is the score of a pair; 0 if the inner product is 0.

    Args:
        score: a score with norms.
        inner: its numerator; of `TurnedRound` the test image is on the training side.
        train: as for `norm_held`.
        test: likewise.
    """
    turned = inner.sides_changed if isinstance(inner, InnerProduct) else False
    one, other = (test, train) if turned else (train, test)
    with torch.no_grad():
        value = score(train[0], test[0], test[1], train[1])
        product = inner(one[0], other[0], other[1], one[1])
    return float(value / product) if product else 0.0

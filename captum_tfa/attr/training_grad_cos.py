"""The map of the grad-cos score on the training image."""

from __future__ import annotations

from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.scores import GradCosScore


class TrainingGradCos(TrainingGradient):
    """``M = ∂S/∂x_train`` for ``S = ⟨g_train, g_test⟩ / (‖g_train‖ ‖g_test‖)``.

    Arguments as in `TrainingGradient`. Source: [bacha2025training]_, equations 1 and 2.

    Example::

        >>> tfa = TrainingGradCos(model)
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    score_class = GradCosScore

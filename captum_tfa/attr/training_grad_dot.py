"""The map of the grad-dot score on the training image."""

from __future__ import annotations

from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.scores import GradDotScore


class TrainingGradDot(TrainingGradient):
    """``M = ∂S/∂x_train`` for ``S = ⟨g_train, g_test⟩``.

    Arguments as in `TrainingGradient`. Source: [charpiat2019input]_.

    Example::

        >>> tfa = TrainingGradDot(model)
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    score_class = GradDotScore

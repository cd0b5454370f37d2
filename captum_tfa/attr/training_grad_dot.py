"""The map of the grad-dot score on the training image."""

from __future__ import annotations

from torch import nn

from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.gradients.selection import ParameterChoice
from captum_tfa.scores import GradDotScore


class TrainingGradDot(TrainingGradient):
    """``M = ∂S/∂x_train`` for ``S = ⟨g_train, g_test⟩``.

    `TrainingGradient` of a `GradDotScore`, whose arguments it takes. Source: [charpiat2019input]_.

    Example::

        >>> tfa = TrainingGradDot(model)
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        parameters: ParameterChoice = None,
    ) -> None:
        super().__init__(GradDotScore(model, loss_fn, output_fn, parameters))

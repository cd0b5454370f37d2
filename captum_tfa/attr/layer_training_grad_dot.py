"""The map of the grad-dot score on a layer's activation for the training image."""

from __future__ import annotations

from torch import nn

from captum_tfa.attr.layer_training_gradient import LayerTrainingGradient
from captum_tfa.gradients.losses import LossFn, OutputFn
from captum_tfa.gradients.selection import ParameterChoice
from captum_tfa.scores import GradDotScore


class LayerTrainingGradDot(LayerTrainingGradient):
    """``∂S/∂A`` for ``S = ⟨g_train, g_test⟩``.

    `LayerTrainingGradient` of a `GradDotScore`, whose arguments it takes. Source:
    [charpiat2019input]_; the layer map: [bacha2025training]_, appendix D.1.

    Example::

        >>> tfa = LayerTrainingGradDot(model, model.layer3)
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module | list[nn.Module],
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        parameters: ParameterChoice = None,
    ) -> None:
        super().__init__(GradDotScore(model, loss_fn, output_fn, parameters), layer)

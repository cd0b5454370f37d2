"""The map of the grad-dot score on a layer's activation for the training image."""

from __future__ import annotations

from captum_tfa.attr.layer_training_gradient import LayerTrainingGradient
from captum_tfa.scores import GradDotScore


class LayerTrainingGradDot(LayerTrainingGradient):
    """``∂S/∂A`` for ``S = ⟨g_train, g_test⟩``.

    Arguments as in `LayerTrainingGradient`. Source: [charpiat2019input]_;
    the layer map: [bacha2025training]_, appendix D.1.

    Example::

        >>> tfa = LayerTrainingGradDot(model, model.layer3)
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    score_class = GradDotScore

"""The map of the grad-cos score on a layer's activation for the training image."""

from __future__ import annotations

from captum_tfa.attr.layer_training_gradient import LayerTrainingGradient
from captum_tfa.scores import GradCosScore


class LayerTrainingGradCos(LayerTrainingGradient):
    """``∂S/∂A`` for ``S = ⟨g_train, g_test⟩ / (‖g_train‖ ‖g_test‖)``.

    Arguments as in `LayerTrainingGradient`. Source: [bacha2025training]_,
    equations 1 and 2; the layer map: appendix D.1.

    Example::

        >>> tfa = LayerTrainingGradCos(model, model.layer3)
        >>> tfa.attribute(train_image, target=label, additional_forward_args=test_image)
    """

    score_class = GradCosScore

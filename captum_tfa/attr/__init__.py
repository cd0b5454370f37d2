"""Maps: the gradient of a score on the training image or on a layer of it."""

from captum_tfa.attr.layer_training_grad_cos import LayerTrainingGradCos
from captum_tfa.attr.layer_training_grad_dot import LayerTrainingGradDot
from captum_tfa.attr.layer_training_gradient import LayerTrainingGradient
from captum_tfa.attr.training_grad_cos import TrainingGradCos
from captum_tfa.attr.training_grad_dot import TrainingGradDot
from captum_tfa.attr.training_gradient import TrainingGradient

__all__ = [
    "LayerTrainingGradCos",
    "LayerTrainingGradDot",
    "LayerTrainingGradient",
    "TrainingGradCos",
    "TrainingGradDot",
    "TrainingGradient",
]

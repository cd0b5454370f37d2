"""Maps: which parts of a training image, or of a layer of it, make a score what it is."""

from captum_tfa.attr.along_training import (
    IntegratedXtrAIn,
    LearnedFrom,
    Xstep,
    XtrAIn,
    XtrAInPlus,
)
from captum_tfa.attr.layer_training_grad_cos import LayerTrainingGradCos
from captum_tfa.attr.layer_training_grad_dot import LayerTrainingGradDot
from captum_tfa.attr.layer_training_gradient import LayerTrainingGradient
from captum_tfa.attr.noise import noisy_copies
from captum_tfa.attr.smooth_grad import SmoothGrad
from captum_tfa.attr.training_grad_cos import TrainingGradCos
from captum_tfa.attr.training_grad_dot import TrainingGradDot
from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.attr.training_gradient_x_input import TrainingGradientXInput
from captum_tfa.attr.training_integrated_gradients import TrainingIntegratedGradients
from captum_tfa.attr.training_occlusion import TrainingOcclusion

__all__ = [
    "IntegratedXtrAIn",
    "LayerTrainingGradCos",
    "LayerTrainingGradDot",
    "LayerTrainingGradient",
    "LearnedFrom",
    "SmoothGrad",
    "TrainingGradCos",
    "TrainingGradDot",
    "TrainingGradient",
    "TrainingGradientXInput",
    "TrainingIntegratedGradients",
    "TrainingOcclusion",
    "Xstep",
    "XtrAIn",
    "XtrAInPlus",
    "noisy_copies",
]

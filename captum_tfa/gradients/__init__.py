"""Parameter gradients, one per example, of any ``nn.Module``: the engine under the scores."""

from captum_tfa.gradients.hooks import hookless
from captum_tfa.gradients.modes import outside_inference_mode
from captum_tfa.gradients.parameter_gradients import Gradients, ParameterGradients
from captum_tfa.gradients.test_gradients import TestGradients

__all__ = ["Gradients", "ParameterGradients", "TestGradients", "hookless", "outside_inference_mode"]

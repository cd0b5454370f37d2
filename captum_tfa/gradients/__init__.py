"""Parameter gradients, one per example, of any ``nn.Module``: the engine under the scores."""

from captum_tfa.gradients.engine import GradientEngine, Gradients
from captum_tfa.gradients.hooks import hookless
from captum_tfa.gradients.modes import outside_inference_mode
from captum_tfa.gradients.stored import StoredGradients

__all__ = ["GradientEngine", "Gradients", "StoredGradients", "hookless", "outside_inference_mode"]

"""Parameter gradients, one per example, of any ``nn.Module``: the engine under the scores."""

from captum_tfa.gradients.engine import GradientEngine, Gradients
from captum_tfa.gradients.hooks import hookless
from captum_tfa.gradients.modes import outside_inference_mode
from captum_tfa.gradients.pass_each import PassForEachExampleWarning
from captum_tfa.gradients.registry import records
from captum_tfa.gradients.rule import Rule
from captum_tfa.gradients.stored import StoredGradients
from captum_tfa.gradients.uses import ParameterUses

__all__ = [
    "GradientEngine",
    "Gradients",
    "ParameterUses",
    "PassForEachExampleWarning",
    "Rule",
    "StoredGradients",
    "hookless",
    "outside_inference_mode",
    "records",
]

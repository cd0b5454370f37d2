"""Captum methods that cannot attribute a score, told apart by the hooks that they set.

Methods for layers and neurons read, or change, what a layer gives in *one* pass. A score that
passes through the model several times, as over checkpoints, has several.

GuidedBackprop, Deconvolution, DeepLift and LRP change how gradients flow back through the
model's modules. A score is made of gradients that flow back through those very modules, so they
would change the score that they are to explain.
"""

from __future__ import annotations

from torch import nn

_OF_LAYERS = ("captum._utils.gradient", "captum.attr._core.layer", "captum.attr._core.neuron")


def refuse_rewritten_gradients(score: nn.Module) -> None:
    """Raise if a Captum method has set hooks that rewrite the model's gradients.

    Raises:
        RuntimeError: with the reason and what to use instead.
    """
    for module in score.modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if _rewrites_gradients(hook):
                raise RuntimeError(
                    "GuidedBackprop, Deconvolution, DeepLift and LRP cannot attribute a score: "
                    "they rewrite the gradients that flow through the model, and the score is "
                    "itself made of these gradients, so it would change under their hands. Use "
                    "Saliency, InputXGradient, IntegratedGradients, Occlusion or the classes of "
                    "captum_tfa.attr."
                )


def refuse_layer_methods(score: nn.Module) -> None:
    """Raise if a Captum method for layers or neurons attributes a score of several passes.

    Raises:
        RuntimeError: with the reason and what to use instead.
    """
    for module in score.modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if getattr(hook, "__module__", "").startswith(_OF_LAYERS):
                raise RuntimeError(
                    "Captum's methods for layers and neurons cannot attribute this score: it "
                    "passes through the model once for each checkpoint, and they would see the "
                    "last pass alone. Use LayerTrainingGradient, which adds up the maps of all."
                )


def _rewrites_gradients(hook: object) -> bool:
    home, name = getattr(hook, "__module__", ""), getattr(hook, "__qualname__", "")
    if home == "captum.attr._core.deep_lift":
        return True
    return home == "captum._utils.common" and name.startswith("_register_backward_hook.")

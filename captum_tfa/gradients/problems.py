"""Has every example a parameter gradient of its own in this model?

It has if the examples of a batch do not depend on each other and the same input gives the same
output twice.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torchvision.ops import StochasticDepth

_BATCH_NORM = nn.modules.batchnorm._BatchNorm
_INSTANCE_NORM = nn.modules.instancenorm._InstanceNorm
_LAZY = nn.modules.lazy.LazyModuleMixin
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)


def problems(model: nn.Module) -> list[str]:
    """What keeps a model from being scored, one sentence each with the remedy; empty if nothing."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}; it must be a torch.nn.Module.")
    found = list(_of_the_whole(model))
    for name, module in model.named_modules():
        found.extend(f"{name or 'the model'}: {problem}" for problem in _of_module(module))
    return found


def refuse_problems(model: nn.Module) -> None:
    """Raise one error that lists every problem of a model.

    Raises:
        TypeError: it is no module.
        ValueError: with every problem and its remedy.
    """
    found = problems(model)
    if found:
        listed = "".join(f"\n- {problem}" for problem in found)
        raise ValueError(f"This model cannot be explained as it is:{listed}")


def _of_the_whole(model: nn.Module) -> Iterator[str]:
    if isinstance(model, _WRAPPERS):
        yield "it is wrapped for several devices; pass the module inside, model.module."
    if isinstance(getattr(model, "_orig_mod", None), nn.Module):
        yield "compiled models cannot be differentiated twice; pass the original, model._orig_mod."
    if not any(parameter.requires_grad for parameter in model.parameters()):
        yield (
            "it has no trainable parameter, so examples have no parameter gradients; call "
            "requires_grad_(True) on the layers that should count."
        )
    devices = {str(parameter.device) for parameter in model.parameters()}
    if len(devices) > 1:
        yield f"its parameters lie on several devices ({', '.join(sorted(devices))}); use one."


def _of_module(module: nn.Module) -> Iterator[str]:
    if isinstance(module, _LAZY) and module.has_uninitialized_params():
        yield "its parameters do not exist yet; run one forward pass first."
    if isinstance(module, _BATCH_NORM):
        if module.running_mean is None:
            yield (
                "BatchNorm with track_running_stats=False always mixes the examples of a batch, "
                "so an example has no gradient of its own; train with track_running_stats=True "
                "or use GroupNorm."
            )
        elif module.training:
            yield "BatchNorm in training mode mixes the examples of a batch; call model.eval()."
    if isinstance(module, _INSTANCE_NORM) and module.training and module.track_running_stats:
        yield "InstanceNorm in training mode changes its running statistics; call model.eval()."
    if module.training and _drop_probability(module) > 0:
        yield "dropout in training mode makes scores random; call model.eval()."
    kind = type(module)
    if ".quantized" in kind.__module__ and not kind.__name__.endswith("PackedParams"):
        yield (
            "its weights are quantised integers, which have no gradients; give the model from "
            "before quantisation."
        )
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        if module.max_norm is not None:
            yield "max_norm rewrites the table in the forward pass; set max_norm=None."
        if module.scale_grad_by_freq:
            yield "scale_grad_by_freq mixes the examples of a batch; set it to False."


def _drop_probability(module: nn.Module) -> float:
    if isinstance(module, nn.modules.dropout._DropoutNd | StochasticDepth):
        return float(module.p)
    if isinstance(module, nn.MultiheadAttention | nn.RNNBase):
        return float(module.dropout)
    if isinstance(module, nn.RReLU):
        return 1.0
    return 0.0

"""Does the engine agree with plain autograd on this model?  One example decides."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from captum_tfa.gradients import (
    GradientEngine,
    hookless,
    outside_inference_mode,
)
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.modes import differentiating
from captum_tfa.gradients.selection import ParameterChoice, choose
from captum_tfa.gradients.uses import ParameterUses
from captum_tfa.scores.pairing import Inputs, as_labels, as_tensors, label_rows

# Exact engines differ by this much in float32, by the kinks of ReLU and max pooling.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 0.05}
_TOLERANCE_IN_HALF_PRECISION = 0.3


@outside_inference_mode
def compare_with_autograd(
    model: nn.Module,
    inputs: Inputs,
    target: object,
    losses: ExampleLosses,
    parameters: ParameterChoice,
) -> None:
    """Compare ``‖g‖²`` of an example and its derivative with those of plain backward passes.

    The engine sees the example in a batch with a brighter copy; autograd sees it alone.

    Raises:
        RuntimeError: the two disagree.
    """
    device = next(model.parameters()).device
    example = [tensor[:1].detach() for tensor in as_tensors(inputs, "inputs", device)]
    label = label_rows(as_labels(target, "target", device), slice(0, 1))
    ours = _of_engine(model, example, label, losses, parameters)
    plain = _of_autograd(model, example, label, losses, parameters)
    tolerance = _TOLERANCE.get(plain[0].dtype, _TOLERANCE_IN_HALF_PRECISION)
    names = ["squared norm of the parameter gradient"]
    names += [f"derivative of that norm in input {place}" for place in range(len(ours) - 1)]
    for name, mine, other in zip(names, ours, plain, strict=True):
        size = torch.maximum(mine.norm(), other.norm()).clamp(min=torch.finfo(other.dtype).tiny)
        error = float((mine - other).norm() / size)
        if not error <= tolerance:
            raise RuntimeError(
                f"The {name} of this example, found in a batch, differs by {error:.1e} "
                f"from what it is for the example alone (allowed: {tolerance:.0e}). The examples "
                "of a batch depend on each other in this model, or its output is random: make "
                "them independent and call model.eval()."
            )


@outside_inference_mode
def parameters_with_a_pass_each(
    model: nn.Module,
    inputs: Inputs,
    target: object,
    losses: ExampleLosses,
    parameters: ParameterChoice,
) -> list[str]:
    """Names of the parameters that cost a backward pass for each example of a batch."""
    device = next(model.parameters()).device
    example = [tensor[:1].detach() for tensor in as_tensors(inputs, "inputs", device)]
    label = label_rows(as_labels(target, "target", device), slice(0, 1))
    engine = GradientEngine(model, losses, parameters)
    engine.apply(lambda each: each.values, *_batch_of_two(example, label))
    return engine.pass_each


def _batch_of_two(
    example: Sequence[Tensor], label: Tensor | None
) -> tuple[list[Tensor], Tensor | None]:
    """The example and a brighter copy of it."""
    copies = [1.1 * tensor if tensor.is_floating_point() else tensor for tensor in example]
    batch = [torch.cat(pair) for pair in zip(example, copies, strict=True)]
    return batch, None if label is None else torch.cat([label, label])


def _of_engine(
    model: nn.Module,
    example: Sequence[Tensor],
    label: Tensor | None,
    losses: ExampleLosses,
    parameters: ParameterChoice,
) -> list[Tensor]:
    """``‖g‖²`` of the example, ``[1]``, and its derivatives, in a batch of two."""
    engine = GradientEngine(model, losses, parameters)
    images, labels = _batch_of_two(example, label)
    batch = _leaves(images)
    with torch.enable_grad():
        squares = engine.apply(lambda each: each.products(None, None).squares, batch, labels, True)
        square = squares[:1]
    return [square.detach(), *(part[:1] for part in _derivatives(square, batch))]


def _of_autograd(
    model: nn.Module,
    example: Sequence[Tensor],
    label: Tensor | None,
    losses: ExampleLosses,
    parameters: ParameterChoice,
) -> list[Tensor]:
    """The same of the example alone, by two plain backward passes."""
    alone = _leaves(example)
    # Nothing is recorded here, but what has no second derivative is still rewritten.
    with differentiating(alone[0].device), ParameterUses({}, [], []):
        loss = losses(hookless(model)(*alone), label).sum()
    with differentiating(alone[0].device):
        chosen = list(choose(model, parameters).values())
        gradients = torch.autograd.grad(loss, chosen, create_graph=True, allow_unused=True)
        squares = torch.stack([(part * part).sum() for part in gradients if part is not None])
        square = squares.sum().reshape(1)
    return [square.detach(), *_derivatives(square, alone)]


def _leaves(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in tensors]


def _derivatives(square: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """The derivatives of ``‖g‖²`` in those inputs that are images, not words."""
    floating = [leaf for leaf in leaves if leaf.requires_grad]
    if not floating or not square.requires_grad:
        return [torch.zeros_like(leaf) for leaf in floating]
    parts = torch.autograd.grad(square, floating, allow_unused=True)
    return [
        leaf.new_zeros(leaf.shape) if part is None else part
        for leaf, part in zip(floating, parts, strict=True)
    ]

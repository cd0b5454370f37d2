"""The two factors of a layer's gradient: ``g = Σ_t δ_t a_tᵀ`` over ``T`` positions.

What stands on the left of a Kronecker product, ``D = E Σ δ δᵀ``, and on its right,
``A = E Σ a aᵀ``, is made of them [martens2015kfac]. They exist for linear layers (with them the
projections of attention) and for convolutions in one to three dimensions, transposed ones too;
groups have factors of their own. A bias is a further input that is always 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.gradients.rules.convolution import ConvolutionWeight, Geometry
from captum_tfa.gradients.rules.linear import LinearWeight
from captum_tfa.gradients.rules.sums import ChannelSum, LastDimensionsSum
from captum_tfa.gradients.terms import Place, Term


@dataclass(frozen=True)
class Layer:
    """A weight and, if it has one, the bias that is added in the same place.

    Attributes:
        weight: the weight's name.
        bias: the bias's name, or ``None``.
        groups: how many parts have inputs and outputs of their own.
    """

    weight: str
    bias: str | None
    groups: int

    def joined(self, by_name: Mapping[str, Tensor]) -> Tensor:
        """``[M, groups, O, K]`` of weights ``[M, ...]``, with the bias as a last column."""
        weight = by_name[self.weight]
        matrix = weight.reshape(len(weight), self.groups, weight.shape[1] // self.groups, -1)
        if self.bias is None:
            return matrix
        bias = by_name[self.bias].reshape(*matrix.shape[:3], 1)
        return torch.cat([matrix, bias], 3)

    def parted(self, joined: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The inverse of `joined`."""
        weight = joined if self.bias is None else joined[..., :-1]
        parts = {self.weight: weight.reshape(like[self.weight].shape)}
        if self.bias is not None:
            parts[self.bias] = joined[..., -1].reshape(like[self.bias].shape)
        return parts

    def factors(self, terms: Mapping[str, Term]) -> tuple[Tensor, Tensor] | None:
        """``a [B, groups, T, K]`` and ``δ [B, groups, T, O]``; ``None`` if it was not used.

        Raises:
            RuntimeError: the layer is used otherwise than where it was seen first.
        """
        if self.weight not in terms:
            return None
        if layer_of(self.weight, terms) != self:
            raise RuntimeError(
                f"The model uses '{self.weight}' otherwise for some examples than for others, so "
                "it has no Kronecker factors. Take kind='diagonal' or 'fisher', or leave it out "
                "with parameters=."
            )
        found = [_factors(place) for place in terms[self.weight].places]
        activations = torch.cat([activation for activation, _ in found], 2)
        deltas = torch.cat([delta for _, delta in found], 2)
        if self.bias is not None:
            activations = F.pad(activations, (0, 1), value=1.0)
        return activations, deltas


def layer_of(weight: str, terms: Mapping[str, Term]) -> Layer | None:
    """The layer to which a weight belongs, if its gradient has factors."""
    places = terms[weight].places
    groups = {_groups(place) for place in places}
    if len(groups) != 1 or None in groups:
        return None
    bias = _bias_name(weight)
    joined = bias in terms and _added_there(places, terms[bias].places)
    return Layer(weight, bias if joined else None, next(iter(groups)) or 1)


def _bias_name(weight: str) -> str:
    """What torch calls the bias beside a weight: ``bias``, ``in_proj_bias``."""
    head, _, last = weight.rpartition(".")
    return ".".join(filter(None, [head, last.replace("weight", "bias")]))


def _groups(place: Place) -> int | None:
    if isinstance(place.rule, ConvolutionWeight):
        return place.rule.geometry.groups
    return 1 if isinstance(place.rule, LinearWeight) else None


def _added_there(weights: Sequence[Place], biases: Sequence[Place]) -> bool:
    """Whether a bias was added wherever a weight was used: then both have the same deltas."""
    return len(weights) == len(biases) and all(map(_beside, weights, biases))


def _beside(weight: Place, bias: Place) -> bool:
    if isinstance(weight.rule, ConvolutionWeight):
        fits = not weight.rule.geometry.transposed and isinstance(bias.rule, ChannelSum)
    else:
        fits = isinstance(bias.rule, LastDimensionsSum) and bias.rule.leading == -1
    if not fits or bias.inputs or weight.delta.shape != bias.delta.shape:
        return False
    return weight.delta.data_ptr() == bias.delta.data_ptr() or torch.equal(weight.delta, bias.delta)


def _factors(place: Place) -> tuple[Tensor, Tensor]:
    if isinstance(place.rule, ConvolutionWeight):
        return _of_convolution(place.rule, place.inputs[0], place.delta)
    return place.inputs[0].unsqueeze(1), place.delta.unsqueeze(1)


def _of_convolution(rule: ConvolutionWeight, input: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    seen, answering = (delta, input) if rule.geometry.transposed else (input, delta)
    answers = answering.flatten(3)  # a transposed convolution is one with its sides exchanged
    images = _windows(seen.flatten(0, 1), rule.shape[2:], rule.geometry, answering.shape[3:])
    windows = images.unflatten(0, seen.shape[:2])
    return tuple(_positions_first(part, rule.geometry.groups) for part in (windows, answers))  # type: ignore[return-value]


def _windows(
    images: Tensor, kernel: Sequence[int], geometry: Geometry, counts: Sequence[int]
) -> Tensor:
    """What the kernel sees at each of its positions, ``[N, C · Πkernel, T]``."""
    amounts = [amount for padding in reversed(geometry.padding) for amount in (padding, padding)]
    seen = F.pad(images, amounts)
    spatial = len(kernel)
    for axis, (size, stride, dilation, count) in enumerate(
        zip(kernel, geometry.stride, geometry.dilation, counts, strict=True)
    ):
        seen = seen.unfold(2 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        seen = seen.narrow(2 + axis, 0, count)
    order = [0, 1, *range(2 + spatial, 2 + 2 * spatial), *range(2, 2 + spatial)]
    laid_out = seen.permute(order)
    return laid_out.reshape(len(images), -1, laid_out.shape[2 + spatial :].numel())


def _positions_first(tensor: Tensor, groups: int) -> Tensor:
    """``[B, r, channels, T]`` as ``[B, groups, r · T, channels / groups]``."""
    grouped = tensor.reshape(*tensor.shape[:2], groups, -1, tensor.shape[3])
    return grouped.permute(0, 2, 1, 4, 3).flatten(2, 3)

"""The two factors of a layer's gradient: ``g = Σ_t δ_t a_tᵀ`` over ``T`` positions.

What stands on the left of a Kronecker product, ``D = E Σ δ δᵀ``, and on its right,
``A = E Σ a aᵀ``, is made of them [martens2015kfac]. They exist for linear layers (with them the
projections of attention) and for convolutions in one to three dimensions, transposed ones too;
groups have factors of their own. A bias is a further input that is always 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_tfa.curvature.precision import summable
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
        """``a [groups, K, B, T]`` and ``δ [groups, O, B, T]``; ``None`` if it was not used.

        With a bias, the last of the ``K`` inputs is 1. The examples come after what is summed over
        them, so that one product takes all positions of all examples.

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
        found = [_factors(place, self.bias is not None) for place in terms[self.weight].places]
        activations, deltas = zip(*found, strict=True)
        return summable(_joined(activations)), summable(_joined(deltas))


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


def _factors(place: Place, with_bias: bool) -> tuple[Tensor, Tensor]:
    if isinstance(place.rule, ConvolutionWeight):
        return _of_convolution(place.rule, place.inputs[0], place.delta, with_bias)
    input = F.pad(place.inputs[0], (0, 1), value=1.0) if with_bias else place.inputs[0]
    return _examples_last(input), _examples_last(place.delta)


def _examples_last(tensor: Tensor) -> Tensor:
    """``[B, T, K]`` as ``[1, K, B, T]``."""
    return tensor.permute(2, 0, 1).unsqueeze(0)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 3)


def _of_convolution(
    rule: ConvolutionWeight, input: Tensor, delta: Tensor, with_bias: bool
) -> tuple[Tensor, Tensor]:
    # A transposed convolution is one with its sides exchanged.
    seen, answering = (delta, input) if rule.geometry.transposed else (input, delta)
    groups, counts = rule.geometry.groups, answering.shape[3:]
    answers = answering.flatten(3).unflatten(2, (groups, -1))  # [B, r, groups, O, T]
    return (
        _windows(seen, rule.shape[2:], rule.geometry, counts, with_bias),
        answers.permute(2, 3, 0, 1, 4).flatten(3),
    )


def _windows(
    images: Tensor,
    kernel: Sequence[int],
    geometry: Geometry,
    counts: Sequence[int],
    with_bias: bool,
) -> Tensor:
    """What the kernel sees at each of its positions in ``[B, r, C, ...]``, and 1 for a bias."""
    amounts = [amount for padding in reversed(geometry.padding) for amount in (padding, padding)]
    batch, repeats, spatial = *images.shape[:2], len(kernel)
    seen = F.pad(images, amounts).unflatten(2, (geometry.groups, -1))
    for axis, (size, stride, dilation, count) in enumerate(
        zip(kernel, geometry.stride, geometry.dilation, counts, strict=True)
    ):
        seen = seen.unfold(4 + axis, dilation * (size - 1) + 1, stride)[..., ::dilation]
        seen = seen.narrow(4 + axis, 0, count)
    # [B, r, groups, C, *counts, *kernel] to [groups, C, *kernel, B, r, *counts]
    places, within = range(4, 4 + spatial), range(4 + spatial, 4 + 2 * spatial)
    seen = seen.permute(2, 3, *within, 0, 1, *places)
    inputs = seen.shape[1 : 2 + spatial].numel()
    positions = repeats * math.prod(counts)
    found: Tensor = seen.new_empty(geometry.groups, inputs + with_bias, batch, positions)
    found[:, :inputs].view(seen.shape).copy_(seen)
    found[:, inputs:] = 1
    return found

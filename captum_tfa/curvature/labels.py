"""Labels that the model itself draws: what makes a Fisher matrix the true one.

The Fisher matrix is ``E_x E_{y ~ p(y given x)} [g gᵀ]``. With labels from the model's own
distribution it is the generalised Gauss-Newton matrix on average; with the true labels (the
*empirical* Fisher) it is another one [martens2015kfac]. What is drawn for an example
depends on its own seed alone, not on the batch in which it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from captum_tfa.gradients.losses import ExampleLosses

Draw = Callable[[Tensor, Tensor], Tensor]
"""From outputs ``[B, ...]`` and a seed for each example ``[B]`` to labels."""


def label_sampler(losses: ExampleLosses) -> Draw:
    """How labels are drawn for a loss that is the negative logarithm of a probability.

    Raises:
        ValueError: the loss is not known to be one.
    """
    loss_fn = losses.loss_fn
    plain = getattr(loss_fn, "weight", None) is None
    if isinstance(loss_fn, nn.CrossEntropyLoss):
        if plain and loss_fn.label_smoothing == 0 and loss_fn.ignore_index < 0:
            return lambda outputs, seeds: _classes(outputs.double().softmax(1), seeds)
    elif isinstance(loss_fn, nn.NLLLoss):
        if plain and loss_fn.ignore_index < 0:
            return _classes_of_logarithms
    elif isinstance(loss_fn, nn.BCEWithLogitsLoss):
        if plain and loss_fn.pos_weight is None:
            return _several
    elif isinstance(loss_fn, nn.MSELoss):
        return _around
    raise ValueError(
        f"labels='sampled' was given, but the loss ({type(loss_fn).__name__} with its settings) is "
        "not known to be the negative logarithm of a probability from which labels can be drawn. "
        "Known are CrossEntropyLoss, NLLLoss and BCEWithLogitsLoss without weights, smoothing or "
        "ignored classes, and MSELoss. Use labels='true', or kind='ggn' or 'cg'."
    )


def can_be_drawn(losses: ExampleLosses) -> bool:
    """Whether `label_sampler` knows how labels are drawn for this loss."""
    try:
        label_sampler(losses)
    except ValueError:
        return False
    return True


def _classes(probabilities: Tensor, seeds: Tensor) -> Tensor:
    """One class for each position, from probabilities ``[B, C, ...]`` that sum to 1."""
    shape = probabilities[:, :1].shape
    below = drawn(torch.rand, shape, seeds).to(probabilities.device)
    cumulated = probabilities.cumsum(1)
    classes: Tensor = cumulated.le(below * cumulated[:, -1:]).sum(1)
    return classes.clamp(max=probabilities.shape[1] - 1)


def _classes_of_logarithms(outputs: Tensor, seeds: Tensor) -> Tensor:
    probabilities = outputs.double().exp()
    total = float((probabilities.sum(1) - 1).abs().max())
    if not total < 1e-2:
        raise ValueError(
            "NLLLoss takes logarithms of probabilities, but those that the model returned do not "
            f"sum to 1 (off by {total:.2g}). End the model with nn.LogSoftmax, or use "
            "nn.CrossEntropyLoss(reduction='none')."
        )
    return _classes(probabilities, seeds)


def _several(outputs: Tensor, seeds: Tensor) -> Tensor:
    """Each label by itself, from logits."""
    below = drawn(torch.rand, outputs.shape, seeds).to(outputs.device)
    return (below < outputs.double().sigmoid()).to(outputs.dtype)


def _around(outputs: Tensor, seeds: Tensor) -> Tensor:
    """``(f − y)²`` is the logarithm of a normal distribution of variance 1/2."""
    noise = drawn(torch.randn, outputs.shape, seeds).to(outputs.device)
    return outputs + (math.sqrt(0.5) * noise).to(outputs.dtype)


def drawn(draw: Callable[..., Tensor], shape: torch.Size, seeds: Tensor) -> Tensor:
    """Random numbers in float64, each row from its own seed, on the CPU wherever the model is."""
    generator = torch.Generator()
    return torch.stack(
        [
            draw(shape[1:], generator=generator.manual_seed(int(seed)), dtype=torch.float64)
            for seed in seeds
        ]
    )

"""A forward pass that autograd differentiates in the parameters, as in training.

For what needs derivatives of the batch's whole loss and not of single examples: second
derivatives in the parameters, gradients of weighted losses, or the outputs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from captum_tfa.gradients.as_found import as_found
from captum_tfa.gradients.hooks import hookless, in_the_place_of
from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.uses import ParameterUses


@contextmanager
def plain_pass(model: nn.Module) -> Iterator[nn.Module]:
    """A twin of the model to call inside: it fires none of the user's hooks.

    Functions that have no second derivative are rewritten, as for a score. The model is left as it
    was found; gradients must be taken with ``torch.autograd.grad``.
    """
    twin = hookless(model)
    # Nothing is recorded, but what has no second derivative is still rewritten.
    with model_lock(model), as_found(twin), in_the_place_of(model), ParameterUses({}, [], []):
        yield twin

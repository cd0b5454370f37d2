"""What scores and maps are by definition: one example at a time, by plain double backward.

Slow and simple on purpose. Nothing of the package is used here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.oracle.batch_norm import decomposed_batch_norm

Inputs = Tensor | tuple[Tensor, ...]
Formula = Callable[[Tensor, Tensor], Tensor]
"""From a training and a test example's gradients, flat ``[P]``, to their score."""


def dot(train: Tensor, test: Tensor) -> Tensor:
    """Grad-dot."""
    return (train * test).sum()


def cos(train: Tensor, test: Tensor) -> Tensor:
    """Grad-cos."""
    return dot(train, test) / (dot(train, train).sqrt() * dot(test, test).sqrt())


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class SlowScore(nn.Module):
    """A score of training and test examples, ``[B]``.

    Args:
        model: the model, in evaluation mode.
        loss_fn: gives losses of a batch of one, which are summed; ``None``: cross-entropy.
        formula: what a score is of two gradients; a new score's oracle is this one line.
        parameters: a predicate on the names of the parameters that count; ``None``: all.
        output_fn: picks the output out of what the model returns.
    """

    def __init__(
        self,
        model: nn.Module,
        loss_fn: Callable[[Any, Any], Tensor] | None = None,
        formula: Formula = cos,
        parameters: Callable[[str], bool] | None = None,
        output_fn: Callable[[Any], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model, self.loss_fn, self.formula = model, loss_fn, formula
        self.parameters_that_count, self.output_fn = parameters, output_fn

    def forward(
        self,
        train_inputs: Inputs,
        test_inputs: Inputs,
        test_target: Tensor | int | None = None,
        train_target: Tensor | int | None = None,
    ) -> Tensor:
        """Scores ``[B]``, differentiable with respect to ``train_inputs``."""
        train, test = _as_tuple(train_inputs), _as_tuple(test_inputs)
        one_test = len(test[0]) == 1 and (test_target is None or _count(test_target) == 1)
        scores: list[Tensor] = []
        of_test: list[Tensor] = []
        with torch.enable_grad(), _twice_differentiable():
            for row in range(len(train[0])):
                if row == 0 or not one_test:
                    with without_hooks(self.model):
                        of_test = self.gradient(_row(test, row), _label(test_target, row))
                    of_test = [gradient.detach() for gradient in of_test]
                of_train = self.gradient(_row(train, row), _label(train_target, row))
                scores.append(self.formula(flat(of_train), flat(of_test)))
        return torch.stack(scores)

    def gradient(self, one: tuple[Tensor, ...], label: Tensor | None) -> list[Tensor]:
        """The parameter gradient of a batch of one example, in a graph."""
        wanted = self.parameters_that_count or (lambda name: True)
        chosen = [
            parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and wanted(name)
        ]
        outputs = self.model(*one)
        if self.output_fn is not None:
            outputs = self.output_fn(outputs)
        if self.loss_fn is None:
            label = outputs.argmax(1) if label is None else label
            loss = F.cross_entropy(outputs, label)
        else:
            label = (outputs > 0).to(outputs.dtype) if label is None else label
            loss = self.loss_fn(outputs, label).sum()
        return list(
            torch.autograd.grad(
                loss, chosen, create_graph=True, allow_unused=True, materialize_grads=True
            )
        )


def slow_map(
    score: SlowScore,
    train_inputs: Inputs,
    test_inputs: Inputs,
    test_target: Tensor | int | None = None,
    train_target: Tensor | int | None = None,
) -> Any:
    """The map ``∂S/∂x`` of every training example; a tuple if ``train_inputs`` is one."""
    train = tuple(tensor.detach().clone().requires_grad_() for tensor in _as_tuple(train_inputs))
    scores = score(train, test_inputs, test_target, train_target)
    maps = torch.autograd.grad(scores.sum(), train)
    return maps if isinstance(train_inputs, tuple) else maps[0]


@contextmanager
def without_hooks(model: nn.Module) -> Iterator[None]:
    """The model without the user's hooks; those of torch that compute weights stay."""
    kept: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in model.modules():
            for name in _HOOKS:
                hooks = module.__dict__[name]
                kept.append((module, name, hooks))
                module.__dict__[name] = OrderedDict(
                    (key, hook)
                    for key, hook in hooks.items()
                    if type(hook).__module__.startswith("torch.nn.utils.")
                )
        yield
    finally:
        for module, name, hooks in kept:
            module.__dict__[name] = hooks


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
        return (input + 3).clamp(0, 6) / 6

    with (
        sdpa_kernel(SDPBackend.MATH),
        mock.patch.object(F, "hardsigmoid", hardsigmoid),
        decomposed_batch_norm(),
    ):
        yield


def _as_tuple(inputs: Inputs) -> tuple[Tensor, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _row(tensors: tuple[Tensor, ...], row: int) -> tuple[Tensor, ...]:
    """One example; a batch of one goes with every row."""
    return tuple(tensor[[row if len(tensor) > 1 else 0]] for tensor in tensors)


def _count(target: Tensor | int) -> int:
    return len(target) if isinstance(target, Tensor) and target.ndim > 0 else 1


def _label(target: Tensor | int | None, row: int) -> Tensor | None:
    if target is None:
        return None
    target = torch.as_tensor(target)
    if target.ndim == 0:
        target = target.reshape(1)
    return target[[row if len(target) > 1 else 0]]


def flat(gradients: list[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])

"""What the tests of maps compare: numbers with the slow oracle's, and a model with its past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

from tests.oracle import EXACT, SlowScore, relative_error


def assert_same(given: Any, expected: Any) -> None:
    """Tensors, tuples or lists of them agree to the exactness of float64, row by row."""
    if isinstance(expected, tuple | list):
        assert isinstance(given, type(expected))
        for one, right in zip(given, expected, strict=True):
            assert_same(one, right)
        return
    assert given.shape == expected.shape
    assert given.requires_grad == expected.requires_grad
    for row, (one, right) in enumerate(zip(given, expected, strict=True)):
        assert relative_error(one, right) < EXACT, f"row {row}"


def row_by_row(of_row: Callable[[int], Any], rows: int) -> Any:
    """Results of batches of one, joined; a slow score takes Captum's layer methods no other way.

    A layer's hook keeps what the last call of the layer gave, and a slow score calls the model
    once for each row.
    """
    parts = [of_row(row) for row in range(rows)]
    if isinstance(parts[0], list):
        return [_joined([part[layer] for part in parts]) for layer in range(len(parts[0]))]
    return _joined(parts)


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return torch.cat(parts)


def slow_layer_map(
    slow: SlowScore,
    layer: nn.Module | list[nn.Module],
    train: Tensor,
    test: Tensor,
    test_target: Tensor | None = None,
    train_target: Tensor | None = None,
    of_input: bool = False,
) -> Any:
    """The maps of each row's activations; ``test`` and the labels have a row for each of them.

    Activations are copied first: a function such as tanh keeps what it gave for its derivative,
    which must not count as if it changed with the activation.
    """
    method = LayerGradientXActivation(slow, layer, multiply_by_inputs=False)

    def of_row(row: int) -> Any:
        here = slice(row, row + 1)
        test_side = tuple(
            None if tensor is None else tensor[here] for tensor in (test, test_target, train_target)
        )
        return method.attribute(
            train[here], additional_forward_args=test_side, attribute_to_layer_input=of_input
        )

    with _copied(layer if isinstance(layer, list) else [layer], of_input):
        return row_by_row(of_row, len(train))


@contextmanager
def _copied(layers: list[nn.Module], of_input: bool) -> Iterator[None]:
    def copied(value: Any) -> Any:
        return value.clone() if isinstance(value, Tensor) else tuple(map(copied, value))

    handles = [
        layer.register_forward_pre_hook(lambda module, given: copied(given), prepend=True)
        if of_input
        else layer.register_forward_hook(lambda module, given, output: copied(output), prepend=True)
        for layer in layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Fail if the model, or torch's own modes, are not afterwards what they were before."""
    before = _state(model)
    try:
        yield
    finally:
        for name, (then, now) in _differences(before, _state(model)).items():
            raise AssertionError(f"{name} was {then} and is {now}")


def hooks_of(model: nn.Module) -> dict[str, object]:
    """All hooks of a model's modules."""
    kinds = ("forward", "forward_pre", "backward", "backward_pre", "state_dict")
    return {
        f"{name} {kind} hooks": list(vars(module)[f"_{kind}_hooks"].items())
        for name, module in model.named_modules()
        for kind in kinds
    }


def _state(model: nn.Module) -> dict[str, object]:
    state: dict[str, object] = {
        "grad mode": torch.is_grad_enabled(),
        "function modes": len(_get_current_function_mode_stack()),
        "autocast": torch.is_autocast_enabled("cpu"),
        **hooks_of(model),
    }
    for name, module in model.named_modules():
        state[f"{name}.training"] = module.training
        state[f"{name}.__dict__"] = sorted(vars(module))
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        state[f"{name} identity"] = id(tensor), tensor._version, tensor.requires_grad
        state[f"{name} hooks"] = tensor._backward_hooks
        grad = tensor.grad
        state[f"{name}.grad"] = None if grad is None else (id(grad), grad.flatten().tolist())
        state[f"{name} values"] = tensor.detach().flatten().tolist()
    return state


def _differences(
    before: dict[str, object], after: dict[str, object]
) -> dict[str, tuple[object, object]]:
    names = sorted({*before, *after})
    return {
        name: (before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    }

"""Of which model, loss, data and settings a curvature is.

Two sides are compared before one is used for the other: a curvature of other weights would give
numbers that look as good as the right ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.gradients.losses import ExampleLosses


@dataclass(frozen=True)
class Fingerprint:
    """What a curvature was fitted to.

    Attributes:
        shapes: of the parameters that count, by name, in the model's order.
        model: a hash of the values of all parameters and buffers.
        loss: the loss in words.
        data: how many examples there were, how many were used, and a hash of a sample of them.
        settings: with which arguments it was fitted, and what the kind itself must remember.
    """

    shapes: Mapping[str, torch.Size]
    model: str
    loss: str
    data: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """``P``, how many numbers the parameters have together."""
        return sum(shape.numel() for shape in self.shapes.values())

    def refuse_other_model(self, model: nn.Module) -> None:
        """Raise if the model has other parameters or other values.

        Raises:
            ValueError: with both sides.
        """
        named = dict(model.named_parameters())
        for name, shape in self.shapes.items():
            has = f"has {name} {list(named[name].shape)}" if name in named else f"has no {name}"
            if name not in named or named[name].shape != shape:
                raise ValueError(
                    f"The curvature belongs to another model: it was fitted for {name} "
                    f"{list(shape)}, and this model {has}. Fit a curvature to this model."
                )
        found = model_hash(model)
        if found != self.model:
            raise ValueError(
                f"The curvature belongs to other weights: it was fitted to a model with hash "
                f"{self.model}, and this one has {found}. Load those weights, or fit a curvature "
                "to these."
            )


def model_hash(model: nn.Module) -> str:
    """A hash of the names, shapes and values of a model's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def loss_words(losses: ExampleLosses) -> str:
    """A loss in words: its class with its settings, or its name, and how the output is picked."""
    words = _words(losses.loss_fn)
    return words if losses.output_fn is None else f"{words} of {_words(losses.output_fn)}"


def examples_hash(examples: Iterable[tuple[Tensor, ...]]) -> str:
    """A hash of some examples' images and labels."""
    digest = hashlib.sha256()
    for tensors in examples:
        for tensor in tensors:
            digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
            digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _words(function: object) -> str:
    if not isinstance(function, nn.Module):
        home = getattr(function, "__module__", "")
        return f"{home}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    settings = {name: value for name, value in vars(function).items() if _is_setting(name, value)}
    tensors = {
        name: hashlib.sha256(_bytes(tensor)).hexdigest()[:8]
        for name, tensor in (*function.named_parameters(), *function.named_buffers())
    }
    listed = ", ".join(f"{name}={value}" for name, value in sorted({**settings, **tensors}.items()))
    return f"{type(function).__name__}({listed})"


def _is_setting(name: str, value: object) -> bool:
    public = not name.startswith("_") and name != "training"
    return public and isinstance(value, bool | int | float | str)


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""

"""In which layers do the inputs enter a model, and which number there is which feature?

A feature owns the weights that multiply it. So the model must have a first layer for it: one that
multiplies, and to which it comes by itself. What stands between may move numbers about and change
each for itself (flatten, a patch's reshaping, normalisation by constants), but not mix them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_tfa.attr.along_training.opened import Opened
from captum_tfa.attr.along_training.question import Question

KINDS: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SUPPORTED = (
    "Supported are models in which each input enters one layer, once: a torch.nn.Linear, Conv1d, "
    "Conv2d or Conv3d with a plain weight (patch embeddings are such), reached by nothing that "
    "mixes features or rows."
)
_BASE = 64


class Entrance(NamedTuple):
    """A first layer.

    Attributes:
        name: of the layer in the model.
        places: for each input that enters here, the place of each of its features among the
            numbers that the layer gets for a row, ``[n]``.
    """

    name: str
    places: dict[int, Tensor]


def entrances(model: Opened, question: Question) -> list[Entrance]:
    """The first layers of a model, found by watching one pass of two rows.

    Raises:
        ValueError: none of the definitions fits the model.
    """
    rows = torch.tensor([0, min(1, question.batch - 1)], device=question.inputs[0].device)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    instead: dict[str, Callable[..., Any]] = {}
    for name, layer in model.layers.items():
        if layer._parameters and (isinstance(layer, KINDS) or not any(layer.children())):
            if isinstance(layer, torch.jit.ScriptModule):
                continue
            instead[name] = _watching(name, layer.forward, calls)
    with torch.enable_grad(), model.at(model.model.state_dict()):
        count = len(question.inputs)
        arguments = question.arguments(rows)
        watched = [tensor.requires_grad_() for tensor in arguments[:count]]
        copies = tuple(tensor.clone() for tensor in watched)
        outputs = model.call((*copies, *arguments[count:]), instead)
        found = _entered(model, calls, watched)
        if any(tensor.requires_grad for tensor in _tensors(outputs)):
            raise ValueError(
                f"The inputs also reach the output past the first layer ({_named(found)}), as by "
                f"a connection that skips it. {_SUPPORTED}"
            )
        question.chosen(outputs, rows)  # a wrong target is told before the walk
    return found


def _entered(
    model: Opened, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], watched: list[Tensor]
) -> list[Entrance]:
    names = [name for name, *_ in calls]
    for name in names:
        _refuse_kind(name, model)
        if names.count(name) > 1:
            raise ValueError(
                f"The inputs enter layer {_quoted(name)} {names.count(name)} times in one pass. "
                f"{_SUPPORTED}"
            )
    found: list[Entrance] = []
    for name, given, named in calls:
        tensors = _tensors((given, named))
        entrance = Entrance(name, {})
        for number, tensor in enumerate(watched):
            places = _places(name, tensors[0], tensor)
            if places is not None:
                entrance.places[number] = places
        together = torch.cat([*entrance.places.values()])
        if len(together.unique()) != len(together):
            raise ValueError(_mixing(name))
        found.append(entrance)
    for number in range(len(watched)):
        layers = [entrance.name for entrance in found if number in entrance.places]
        which = "The input" if len(watched) == 1 else f"Input {number}"
        if not layers:
            raise ValueError(f"{which} reaches no layer with weights. {_SUPPORTED}")
        if len(layers) > 1:
            raise ValueError(
                f"{which} reaches {len(layers)} layers, {', '.join(map(_quoted, layers))}: its "
                f"features own weights in each of them. {_SUPPORTED}"
            )
    return found


def _places(name: str, entering: Tensor, source: Tensor) -> Tensor | None:
    """Where each feature of ``source [2, ...]`` is in ``entering [2, ...]``; ``None``: nowhere.

    The derivative of the one with respect to the other must have one number in each row and column;
    its place is read off by passing the places' own digits back through it.
    """
    size = entering[0].numel()
    kept = {"retain_graph": True, "allow_unused": True}

    def back(values: Tensor) -> Tensor | None:
        cotangent = torch.zeros_like(entering)
        cotangent[0] = values.to(entering).view(entering[0].shape)
        (gradient,) = torch.autograd.grad(entering, source, cotangent, **kept)
        return None if gradient is None else gradient.flatten(1)

    if entering.dim() < 2 or len(entering) != 2:
        raise ValueError(
            f"Layer {_quoted(name)} gets {list(entering.shape)} for a batch of 2: the batch must "
            f"come first. {_SUPPORTED}"
        )
    slopes = back(torch.ones(size))
    if slopes is None:
        return None
    if bool(slopes[1].any()) or not bool(slopes[0].all()):
        raise ValueError(_mixing(name))
    places = torch.arange(size, device=source.device)
    found = torch.zeros(slopes.shape[1], dtype=torch.long, device=source.device)
    power = 1
    while power < size:
        digits = back(places // power % _BASE)
        assert digits is not None
        found += (digits[0] / slopes[0]).round().clamp(0, _BASE - 1).long() * power
        power *= _BASE
    draw = 0.5 + torch.rand(size, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    drawn = back(draw)
    assert drawn is not None
    found = found.clamp(max=size - 1)
    expected = slopes[0] * draw.to(entering)[found]
    tolerance = min(0.05, 10 * torch.finfo(entering.dtype).eps ** 0.5)
    if bool(((drawn[0] - expected).abs() > tolerance * slopes[0].abs()).any()):
        raise ValueError(_mixing(name))
    return found


def _watching(
    name: str,
    forward: Callable[..., Any],
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]],
) -> Callable[..., Any]:
    def watching(*given: Any, **named: Any) -> Any:
        if any(tensor.requires_grad for tensor in _tensors((given, named))):
            copies = (_mapped(given, torch.clone), _mapped(named, torch.clone))
            calls.append((name, *copies))
        return _mapped(forward(*given, **named), torch.Tensor.detach)

    return watching


def _refuse_kind(name: str, model: Opened) -> None:
    layer = dict(model.model.named_modules())[name]
    kind = next((kind for kind in KINDS if isinstance(layer, kind)), None)
    plain = (
        kind is not None
        and type(layer).forward is kind.forward
        and "forward" not in vars(layer)
        and "weight" in layer._parameters
    )
    if not plain:
        why = "" if kind is None else ", but with a forward or a weight of its own"
        raise ValueError(
            f"The inputs enter the model in {_quoted(name)}, a {type(layer).__name__}{why}. "
            f"{_SUPPORTED}"
        )


def _mixing(name: str) -> str:
    return (
        f"What enters layer {_quoted(name)} is not each feature by itself: something before it "
        f"mixes features or rows, or drops some. {_SUPPORTED}"
    )


def _quoted(name: str) -> str:
    return f"'{name}'" if name else "'(the model itself)'"


def _named(found: list[Entrance]) -> str:
    return ", ".join(_quoted(entrance.name) for entrance in found)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for item in value for tensor in _tensors(item)]
    return []


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(item, function) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_mapped(item, function) for item in value)
    return value

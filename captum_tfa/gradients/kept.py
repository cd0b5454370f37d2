"""Tensors that a model made of its parameters in an earlier pass and kept.

A layer may keep its normalised weight, or the biases that it looked up in a table, until it is
trained again. In a pass that uses what was kept, the parameter itself has no part, and would drop
out of every score without a word. So such a pass is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from captum_tfa.gradients.holdings import containers

_PASS = "_captum_tfa_pass"

_REMEDY = (
    "Let the model drop it before scores are made (many do in `model.train(); model.eval()`; else "
    "set the attribute to None), or leave the parameter out with `parameters=`."
)


class KeptTensors:
    """The floating point tensors that modules hold in plain attributes before a pass.

    Args:
        model: the model.
    """

    def __init__(self, model: nn.Module) -> None:
        self._held = [
            (name, module, attribute, tensor)
            for name, module in model.named_modules()
            for attribute, tensor in _held(module)
            if isinstance(tensor, Tensor)
            and tensor.is_floating_point()
            and not isinstance(tensor, nn.Parameter)
        ]

    def refuse(
        self,
        chosen: Mapping[str, nn.Parameter],
        outside: Mapping[int, Tensor],
        found: Collection[str],
    ) -> None:
        """Raise if the pass used one of them in the place of a parameter.

        Args:
            chosen: the parameters that count.
            outside: tensors that the pass was seen to use and did not make, by their `id`.
            found: names of the parameters that have a gradient.

        Raises:
            RuntimeError: a kept tensor was used, and a parameter of its module has no gradient.
        """
        names = {id(parameter): name for name, parameter in chosen.items() if name not in found}
        if not names:
            return
        for path, module, attribute, tensor in self._held:
            if id(tensor) not in outside:
                continue
            for parameter in module.parameters():
                own = any(parameter is one for one in module._parameters.values())
                if id(parameter) in names and (own or parameter.numel() == tensor.numel()):
                    where = f"{path}.{attribute}" if path else attribute
                    raise RuntimeError(
                        f"The model used the tensor that it keeps in '{where}', and not the "
                        f"parameter '{names[id(parameter)]}'. If the one was made of the other in "
                        f"an earlier pass, the parameter would drop out of the score. {_REMEDY}"
                    )


def _held(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What a module holds in attributes, and in containers and plain objects, by attribute."""
    yield from module.__dict__.items()
    for name, held in containers(module):
        if name not in ("_parameters", "_buffers", "_modules"):
            for value in held.values() if isinstance(held, dict) else held:
                yield name, value


def of_this_pass(leaf: Tensor, token: object) -> Tensor:
    """Mark a leaf that stands in for a parameter in one pass."""
    setattr(leaf, _PASS, token)
    return leaf


def refuse_older_passes(outside: Mapping[int, Tensor], token: object) -> None:
    """Raise if a tensor that a pass did not make hangs on the graph of another pass of ours.

    Raises:
        RuntimeError: the model keeps a tensor in a place that could not be put back.
    """
    seen: set[torch.autograd.graph.Node] = set()
    todo = [tensor.grad_fn for tensor in outside.values() if tensor.grad_fn is not None]
    while todo:
        node = todo.pop()
        if node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and getattr(leaf, _PASS, token) is not token:
            raise RuntimeError(
                "The model used a tensor that it made of its parameters in an earlier pass and "
                "keeps outside of its modules' attributes, so a parameter would drop out of the "
                f"score. {_REMEDY}"
            )
        todo += [following for following, _ in node.next_functions if following is not None]


@contextmanager
def told_of_freed_graphs() -> Iterator[None]:
    """Say in plain words that the model keeps a tensor whose graph is gone."""
    try:
        yield
    except RuntimeError as error:
        if "backward through the graph a second time" not in str(error):
            raise
        raise RuntimeError(
            "The model used a tensor that it keeps from an earlier pass, whose graph a backward "
            f"pass has freed. {_REMEDY}"
        ) from error

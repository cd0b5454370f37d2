"""Operations that cannot be differentiated twice, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor


def _none(why: str) -> str:
    return (
        f"A map is a second derivative, and an operation of the model has none ({why}). Replace "
        "that operation, restrict the score to layers behind it with `parameters=`, or map the "
        "model's later layers only."
    )


@contextmanager
def second_derivatives() -> Iterator[None]:
    """Say what to do when an operation of the model cannot be differentiated twice."""
    try:
        yield
    except RuntimeError as error:
        if "derivative for" not in str(error) and "double back" not in str(error).lower():
            raise
        raise RuntimeError(_none(str(error).splitlines()[0])) from error


def refuse_dead_ends(scores: Tensor) -> Tensor:
    """The scores, unless an operation of the model cuts the second derivative off without a word.

    Where an operation is marked ``@once_differentiable``, torch ends the graph in a node that
    raises when it is reached. On the way to an image it is not reached, and its part of the map
    would be missing.

    Raises:
        RuntimeError: there is such an operation.
    """
    todo = [scores.grad_fn]
    seen = set()
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().endswith("Error"):
            raise RuntimeError(_none("it is marked @once_differentiable"))
        todo.extend(following for following, _ in node.next_functions)
    return scores

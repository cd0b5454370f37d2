"""Which rows of a call belong together, told from how many came.

``NoiseTunnel`` calls ``attribute`` with ``n`` noisy copies of each training image, one after the
other. It repeats in the same way what comes beside them if that is a tensor; numbers, lists, and
the tensors in a tuple (the test images of a model with several inputs) it hands on as they are. So
the numbers of rows tell which test image each copy is for. Where they do not, nothing is guessed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from captum_tfa.scores.pairing import matched

P = ParamSpec("P")
R = TypeVar("R")

_called_by_user: ContextVar[bool] = ContextVar("called by the user", default=False)


def told_from_wrappers(attribute: Callable[P, R]) -> Callable[P, R]:
    """An ``attribute`` that knows whether the user has called it, so that nothing was repeated.

    Captum's wrappers call what lies beneath the outermost decorator.
    """

    @functools.wraps(attribute)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _called_by_user.set(True)
        try:
            return attribute(*args, **kwargs)
        finally:
            _called_by_user.reset(token)

    return called


def called_by_user() -> bool:
    """Whether the running ``attribute`` was called by the user and not by a wrapper."""
    return _called_by_user.get()


def every_test(
    batch: int,
    test: Sequence[Tensor],
    given: Any,
    labels: Sequence[tuple[Tensor | None, Any]],
) -> bool:
    """Whether the test images all go with one training image, and so with each of its copies.

    Args:
        batch: how many rows of training images came.
        test: the test images that came, one tensor for each input of the model.
        given: the test images as they were given.
        labels: those of the test images and those of the training images, both as tensors and as
            they were given.

    Raises:
        ValueError: the numbers of rows allow that, and pairs as well.
    """
    count = len(test[0])
    if count == 1:
        return False
    if called_by_user():
        return batch == 1
    if isinstance(given, Tensor):
        blocks = count > batch and count % batch == 0
        return blocks and all(_in_blocks(tensor, batch) for tensor in test)
    together = all(_repeated(*pair, batch, (1, count)) for pair in labels)
    copies, left = divmod(batch, count)
    pairs = left == 0 and all(_repeated(*pair, copies, (1, count)) for pair in labels)
    if together and pairs:
        raise ValueError(
            f"{batch} rows of training images came with {count} test images of several inputs: "
            f"they may be {batch} noisy copies of one image for all of these tests, or {copies} "
            f"of each of {count} images with one test each. Make one call for each training "
            "image and test example, or choose another number of samples."
        )
    return together


def _repeated(labels: Tensor | None, given: Any, copies: int, allowed: tuple[int, ...]) -> bool:
    """Whether labels can have been repeated so often, from an allowed number of rows."""
    if labels is None or not isinstance(given, Tensor) or given.ndim == 0:
        return True
    if len(labels) == 1 and labels.numel() == 1:  # Captum leaves a single number alone
        return True
    return any(len(labels) == copies * rows for rows in allowed) and _in_blocks(labels, copies)


def _in_blocks(tensor: Tensor, size: int) -> bool:
    """Whether the rows come in blocks of so many that are all the same."""
    blocks = tensor.detach().unflatten(0, (-1, size))
    return bool(blocks.eq(blocks[:, :1]).all())


def for_each_copy(tensor: Tensor, given: Any, batch: int) -> Tensor:
    """Test images with one row for each of ``batch`` training images and their copies.

    Raises:
        ValueError: their rows do not match.
    """
    handed_on = not isinstance(given, Tensor) and not called_by_user()
    if handed_on and 1 < len(tensor) < batch and batch % len(tensor) == 0:
        return tensor.repeat_interleave(batch // len(tensor), 0)
    return matched(tensor, batch, "The test input")


def for_each_test(labels: Tensor, given: Any, tests: int, copies: int) -> Tensor:
    """Test labels with one row for each of several tests of one image, of which there are copies.

    Raises:
        ValueError: their rows do not match.
    """
    repeated = isinstance(given, Tensor) and not called_by_user()
    if repeated and len(labels) == tests * copies and _in_blocks(labels, copies):
        labels = labels[::copies]
    elif repeated and len(labels) == copies and _in_blocks(labels, copies):
        labels = labels[:1]
    return matched(labels, tests, "The test label", "test examples")

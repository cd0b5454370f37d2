"""Which windows an occlusion covers, and what is lost by each: for scores and for models alike.

[zeiler2014visualizing]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum.attr import Occlusion
from torch import Tensor

# A window's part of the shorter side; windows overlap by half.
_WINDOW = 4
AT_ONCE = 16
"""So many covered images are worked on at once, if nothing else is said."""

Window = tuple[int, ...] | tuple[tuple[int, ...], ...] | None


def lost_by_windows(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    windows: Window = None,
    strides: Window = None,
    at_once: int = AT_ONCE,
    **arguments: Any,
) -> tuple[Tensor, ...]:
    """``f(x) − f(x with a window of b)``, the mean over the windows that cover a pixel: Captum's.

    Args:
        function: gives one number, or a row of outputs, an image.
        inputs: its inputs, each ``[B, ...]``.
        baselines: what covers, of the same shapes.
        windows: shape of the window without the batch, for each input; of one input it need not
            stand in a tuple. ``None``, for one input ``[B, C, H, W]``: all channels, a quarter of
            the shorter side high and wide.
        strides: how far the window moves on, likewise. ``None``: half of the window, and the whole
            of its first dimension.
        at_once: covered images at once.
        **arguments: for Captum's ``Occlusion``, such as ``target``.

    Returns:
        Of the shapes of the inputs.

    Raises:
        ValueError: no window for inputs that are not one image.
    """
    shapes = _windows(windows, inputs)
    found: tuple[Tensor, ...] = Occlusion(function).attribute(
        inputs,
        shapes,
        _per_input(strides, inputs) or tuple(map(_half, shapes)),
        baselines=baselines,
        perturbations_per_eval=at_once,
        **arguments,
    )
    return found


def _windows(given: Window, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """A window for each input.

    Raises:
        ValueError: none was given for inputs of which none follows.
    """
    chosen = _per_input(given, inputs)
    if chosen is not None:
        return chosen
    if len(inputs) > 1 or inputs[0].ndim != 4:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in inputs)
        raise ValueError(
            f"inputs are {shapes}; sliding_window_shapes can be left out for one input "
            "[B, C, H, W] only: give the shape of the window, without the batch, for each input."
        )
    _, channels, height, width = inputs[0].shape
    side = max(1, min(height, width) // _WINDOW)
    return ((channels, side, side),)


def _per_input(given: Window, inputs: tuple[Tensor, ...]) -> tuple[Any, ...] | None:
    """A shape or a stride for each input; of a single one it need not stand in a tuple."""
    if given is None or len(inputs) > 1 or isinstance(given[0], tuple):
        return given
    return (given,)


def _half(window: tuple[int, ...]) -> tuple[int, ...]:
    return (window[0], *(max(1, side // 2) for side in window[1:]))

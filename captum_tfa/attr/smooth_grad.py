"""The mean of what a method says of noisy copies of an image [smilkov2017smoothgrad].

Captum's ``NoiseTunnel`` takes the noise in the image's units and from PyTorch's global state, one
draw for the whole batch. Here the noise is that of `noisy_copies`.
"""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_tfa.attr.noise import noisy_copies


class SmoothGrad(Attribution):  # type: ignore[misc]
    """``(1/n) Σ_i M(x + σ ε_i)`` of a method's maps ``M``, with ``σ`` a part of the image's range.

    Args:
        method: any gradient method of Captum's interface for one input: of training images, such
            as ``TrainingGradient(score)`` or ``LayerTrainingGradient(score, layer)``, or of a
            model, such as Captum's ``Saliency(model)``.

    Raises:
        TypeError: ``method`` is none.

    Example::

        >>> smooth = SmoothGrad(TrainingGradCos(model))
        >>> smooth.attribute(train_images, target=labels, additional_forward_args=test_image)
    """

    def __init__(self, method: Attribution) -> None:
        if not isinstance(method, Attribution):
            raise TypeError(
                f"method is a {type(method).__name__}; give a method such as "
                "TrainingGradCos(model), of which the mean is taken."
            )
        super().__init__(method.forward_func)
        self.method = method

    def attribute(
        self,
        inputs: Tensor,
        target: object = None,
        additional_forward_args: Any = None,
        nt_samples: int = 50,
        noise_level: float = 0.1,
        seed: int = 0,
        **arguments: Any,
    ) -> Any:
        """Smooth maps of images, one image after the other.

        Args:
            inputs: images ``[B, ...]``, floating point.
            target: as for the method; labels of as many rows as ``inputs`` go with these.
            additional_forward_args: likewise: tensors of as many rows as ``inputs`` go with these.
                A single training image may have several test images, as in `TrainingGradient`.
            nt_samples: noisy copies ``n`` of each image, at least 1.
            noise_level: deviation of the noise as a part of the image's max − min, at least 0; 0
                gives the method's own maps.
            seed: of the noise, which is the same for every image.
            **arguments: for the method's own ``attribute``, such as ``baselines`` (a number or a
                tensor of one row) or ``internal_batch_size``.

        Returns:
            What the method returns for ``inputs``; a list of it for several layers.

        Raises:
            TypeError: several inputs, or as the method.
            ValueError: ``nt_samples`` or ``noise_level`` out of its range, or as the method.
        """
        if not isinstance(inputs, Tensor):
            raise TypeError(
                f"inputs is a {type(inputs).__name__}; noise is added to one input, a tensor of "
                "images [B, ...]."
            )
        batch = len(inputs)
        rows = []
        for row in range(batch):
            image = inputs[row : row + 1].detach()
            copies = noisy_copies(image, nt_samples if noise_level else 1, noise_level, seed)
            label, given = (_row(side, row, batch) for side in (target, additional_forward_args))
            rows.append(self._mean(copies, label, given, arguments))
        if isinstance(rows[0], list):
            return [torch.cat(parts) for parts in zip(*rows, strict=True)]
        return torch.cat(rows)

    def _mean(self, copies: Tensor, target: Any, given: Any, arguments: dict[str, Any]) -> Any:
        """The mean map of one image's copies, ``[1, ...]``, or ``[M, ...]`` for M test images."""
        count = len(copies)
        # What lies beneath the outermost decorator, as Captum's wrappers call it: so the method
        # knows that rows were repeated.
        attribute = type(self.method).attribute
        found = getattr(attribute, "__wrapped__", attribute)(
            self.method,
            copies,
            target=_repeated(target, count),
            additional_forward_args=_repeated(given, count),
            **arguments,
        )

        def mean(maps: Tensor) -> Tensor:
            blocks: Tensor = maps.detach().unflatten(0, (-1, count))
            return blocks.mean(1)

        if isinstance(found, list | tuple):
            return [mean(maps) for maps in found]
        return mean(found)


def _row(given: Any, row: int, batch: int) -> Any:
    """What goes with one row of a batch."""
    if batch == 1:
        return given
    if isinstance(given, tuple):
        return tuple(_row(part, row, batch) for part in given)
    if isinstance(given, list) or (isinstance(given, Tensor) and given.ndim):
        return given[row : row + 1] if len(given) == batch else given
    return given


def _repeated(given: Any, count: int) -> Any:
    """Each row so many times in turn; numbers and lists as they are."""
    if isinstance(given, tuple):
        return tuple(_repeated(part, count) for part in given)
    if isinstance(given, Tensor) and given.ndim:
        return given.repeat_interleave(count, 0)
    return given

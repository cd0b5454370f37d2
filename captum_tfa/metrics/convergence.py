"""How much noise, and how many noisy copies, does a smooth map take?

SmoothGrad [smilkov2017smoothgrad] estimates the expected map ``μ = E M(x + σ ε)``, ``ε ~ N(0, I)``,
by the mean of n noisy maps. What it still lacks is sampling error: with ``v`` the variance of one
noisy map summed over its values, the mean is off by ``sqrt(v / n)`` (root of the expected squared
distance), and relative to the map's own length by ``r = sqrt(v / n) / ‖μ‖``. So the copies that a
wanted ``r`` takes follow from one measurement: ``n = v / (r ‖μ‖)²``.

``‖mean of n maps‖²`` is too large by ``v / n`` on average, and that is taken off: otherwise ``r``
could not grow past 1, and a map of pure noise would look half known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_tfa.attr.noise import endless_copies


@dataclass(frozen=True)
class NoiseGrid:
    """Smooth maps of one image for several noise levels and numbers of noisy copies.

    Attributes:
        levels: The noise levels, ``[S]``: σ as a part of the image's max − min.
        counts: The numbers of copies n, ``[K]``.
        maps: Means over the first n noisy maps, ``[S, K, C, H, W]``, float64, on the CPU.
        variances: Of each value of one noisy map, from all copies, ``[S, C, H, W]``, float64.
    """

    levels: Tensor
    counts: Tensor
    maps: Tensor
    variances: Tensor

    def standard_error(self) -> Tensor:
        """The standard error of each value of each mean, ``[S, K, C, H, W]``."""
        counts = self.counts.view(-1, *[1] * (self.maps.dim() - 2))
        return (self.variances.unsqueeze(1) / counts).sqrt()

    def relative_error(self) -> Tensor:
        """``r = sqrt(v / n) / ‖μ‖`` for each σ and n, ``[S, K]``; infinite if ``‖μ‖²`` is not > 0.

        The cosine between such a mean and the map without sampling error is about
        ``1 / sqrt(1 + r²)``.
        """
        return self._error_of_one().unsqueeze(1) / self.counts.sqrt()

    def copies_for(self, relative_error: float) -> Tensor:
        """The number of noisy copies that leaves this relative error, for each σ: ``[S]``.

        Args:
            relative_error: The wanted ``r``, above 0.

        Returns:
            ``v / (r² ‖μ‖²)``, rounded up, at least 1, float64; infinite if ``‖μ‖²`` is not > 0.

        Raises:
            ValueError: A relative error that is not positive.
        """
        if not 0 < relative_error < math.inf:
            raise ValueError(
                f"relative_error is {relative_error}; it must be positive, e.g. 0.1 for 10 %"
            )
        return (self._error_of_one() / relative_error).square().ceil().clamp_min(1)

    def _error_of_one(self) -> Tensor:
        """The relative error of a single noisy map, ``[S]``."""
        variance = self.variances.flatten(1).sum(1)
        lengths = self.maps[:, -1].flatten(1).square().sum(1)
        signal = lengths - variance / self.counts[-1]  # may fall below 0 where noise hides the map
        error = (variance / signal.clamp_min(0)).sqrt()
        return torch.where(variance > 0, error, 0)  # a map of zeros is exact too


def noise_grid(
    attribute: Callable[[Tensor], Tensor],
    image: Tensor,
    noise_levels: Sequence[float],
    counts: Sequence[int],
    batch_size: int = 50,
    seed: int = 0,
    show_progress: bool = False,
) -> NoiseGrid:
    """Smooth maps of one image over noise levels and numbers of copies, and how good they are.

    Each σ takes ``max(counts)`` maps. The same noise is scaled to every σ, so levels differ by
    their level only, and a mean over few copies is a part of that over more. Memory holds one
    batch and the results.

    Args:
        attribute: Gives maps ``[B, ...]``, mostly ``[B, C, H, W]``, of noisy copies
            ``[B, C, H, W]``, such as
            ``lambda copies: tfa.attribute(copies, target=label,
            additional_forward_args=(test_image, test_label))``.
        image: The training image, ``[1, C, H, W]``.
        noise_levels: Deviations σ of the noise, each a part of the image's max − min, at least 0.
        counts: Numbers of noisy copies n, rising, the largest at least 2.
        batch_size: Copies in a call of ``attribute``.
        seed: Of the noise, which is the same on every device.
        show_progress: Show a progress bar over the copies.

    Raises:
        ValueError: An image of another shape, no or negative ``noise_levels``, ``counts`` that do
            not rise or stay below 2, a ``batch_size`` below 1, or maps that are not finite or not
            one a copy.
    """
    _check(image, noise_levels, counts, batch_size)
    total = len(noise_levels) * counts[-1]
    with tqdm(total=total, unit="map", desc="noise", disable=not show_progress) as bar:
        found = [
            _one_level(attribute, image, level, counts, batch_size, seed, bar)
            for level in noise_levels
        ]
    maps, variances = zip(*found, strict=True)
    return NoiseGrid(
        torch.tensor(noise_levels, dtype=torch.double),
        torch.tensor(counts),
        torch.stack(maps),
        torch.stack(variances),
    )


def _one_level(
    attribute: Callable[[Tensor], Tensor],
    image: Tensor,
    level: float,
    counts: Sequence[int],
    batch_size: int,
    seed: int,
    bar: tqdm[Any],
) -> tuple[Tensor, Tensor]:
    """Means ``[K, C, H, W]``, and the variance of each value of one map."""
    done, kept = 0, []
    mean = squares = torch.zeros((), dtype=torch.double)  # squared distances from the mean so far
    for copies in _noisy(image, level, counts, batch_size, seed):
        maps = attribute(copies).detach()
        if len(maps) != len(copies) or not torch.isfinite(maps).all():
            raise ValueError(
                f"attribute gave {list(maps.shape)} for copies {list(copies.shape)}; it must give "
                "one finite map a copy"
            )
        maps = maps.double().cpu()
        size, own = len(maps), maps.mean(0)
        # The two parts' means and squares join without a difference of large numbers.
        squares = squares + ((maps - own) ** 2).sum(0)
        squares = squares + (own - mean) ** 2 * done * size / (done + size)
        mean = mean + (own - mean) * size / (done + size)
        done += size
        bar.update(size)
        if done in counts:
            kept.append(mean)
    return torch.stack(kept), squares / (done - 1)


def _noisy(
    image: Tensor, level: float, counts: Sequence[int], batch_size: int, seed: int
) -> Iterator[Tensor]:
    """Noisy copies in batches that end at each of the counts."""
    copies = endless_copies(image, level, seed)
    done = 0
    for count in counts:
        while done < count:
            size = min(batch_size, count - done)
            yield torch.cat(list(islice(copies, size)))
            done += size


def _check(image: Tensor, levels: Sequence[float], counts: Sequence[int], batch_size: int) -> None:
    if image.dim() != 4 or len(image) != 1:
        raise ValueError(f"image has the shape {list(image.shape)}; it must be [1, C, H, W]")
    if not levels or not all(0 <= level < math.inf for level in levels):
        raise ValueError(f"noise_levels is {list(levels)}; give at least one, none below 0")
    rising = [0, *counts]
    if len(rising) < 2 or rising[-1] < 2 or any(a >= b for a, b in pairwise(rising)):
        raise ValueError(
            f"counts is {list(counts)}; give numbers that rise from at least 1, the last at "
            "least 2: a spread needs two maps"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")

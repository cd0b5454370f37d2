"""One image's map, the same whenever and wherever it is drawn.

Influence has two ends. A symmetric score, ``cos(g_train, g_test) = cos(g_test, g_train)``, is one
function with the images' roles swapped; for another one the gradient of the test side is of the
score turned round.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_tfa.report.methods import Method, Task
from captum_tfa.scores import Score


@dataclass(frozen=True, eq=False)
class Mapper:
    """Draws maps of the score of two images.

    Attributes:
        method: How a map is made.
        layer: The module of the model that is mapped, or None for the pixels.
        colour: What an image without content looks like, ``[C]``.
        nt_samples: Noisy copies an image, or points on a path.
        noise_level: Standard deviation of the noise as a part of the image's max − min.
        internal_batch_size: Noisy copies at once, or None.
        seed: Seed of the noise, the same for each map: it does not depend on others.
    """

    method: Method
    layer: nn.Module | None
    colour: Tensor
    nt_samples: int
    noise_level: float
    internal_batch_size: int | None
    seed: int

    def __call__(
        self,
        score: Score,
        image: Tensor,
        label: Tensor,
        other: tuple[Tensor, Tensor],
    ) -> Tensor:
        """Which parts of ``image`` make its score with ``other`` what it is, on the CPU.

        Args:
            score: Whose map, with ``image`` on its training side.
            image: ``[1, C, H, W]``.
            label: Its class, ``[1]``.
            other: The other image and its class, likewise; a constant.

        Returns:
            ``[C, H, W]``; for a layer ``[1, H, W]``.
        """
        drawn = self.method.draw(
            Task(
                score=score,
                layer=self.layer,
                image=image,
                label=label,
                other=other,
                start=self.colour.to(image).view(1, -1, 1, 1).expand_as(image),
                nt_samples=self.nt_samples,
                noise_level=self.noise_level,
                seed=self.seed,
                internal_batch_size=self.internal_batch_size,
            )
        )
        return drawn[0].detach().cpu()


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Gives PyTorch's random state on the CPU and on ``device`` back as it was."""
    cuda = [device] if device.type == "cuda" else []
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(cuda, device_type="cuda"):
        try:
            yield
        finally:
            if mps is not None:
                torch.mps.set_rng_state(mps)

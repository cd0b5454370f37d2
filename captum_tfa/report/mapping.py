"""One training image's SmoothGrad map, the same whenever and wherever it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from captum.attr import LayerAttribution, NoiseTunnel
from torch import Tensor

from captum_tfa.attr import LayerTrainingGradCos, TrainingGradCos


@dataclass(frozen=True)
class Mapper:
    """Draws the maps of training images for one test image.

    Attributes:
        method: Gives the map of one image.
        test_image: ``[1, C, H, W]``.
        test_label: ``[1]``.
        nt_samples: Noisy copies an image.
        noise_level: Standard deviation of the noise as a part of the image's max − min.
        internal_batch_size: Noisy copies at once, or None.
        seed: Seed of the noise, set anew for each image: its map does not depend on others.
    """

    method: TrainingGradCos | LayerTrainingGradCos
    test_image: Tensor
    test_label: Tensor
    nt_samples: int
    noise_level: float
    internal_batch_size: int | None
    seed: int

    def __call__(self, picture: Tensor, label: int) -> Tensor:
        """The map of a training image, on the CPU.

        Args:
            picture: ``[C, H, W]``.
            label: Its class.

        Returns:
            ``[C, H, W]``; for a layer ``[1, H, W]``, the mean over its channels, upsampled.
        """
        image = picture.to(self.test_image).unsqueeze(0)
        arguments = {
            "target": torch.tensor([label], device=image.device),
            "additional_forward_args": (self.test_image, self.test_label),
            "internal_batch_size": self.internal_batch_size,
        }
        spread = self.noise_level * float(image.max() - image.min())
        if spread > 0:
            seed_generators(self.seed, image.device)
            found = NoiseTunnel(self.method).attribute(
                image,
                nt_type="smoothgrad",
                nt_samples=self.nt_samples,
                stdevs=spread,
                **arguments,
            )
        else:
            found = self.method.attribute(image, **arguments)
        if isinstance(self.method, LayerTrainingGradCos):
            found = LayerAttribution.interpolate(
                found.mean(dim=1, keepdim=True), tuple(image.shape[-2:]), "bilinear"
            )
        drawn: Tensor = found[0].detach().cpu()
        return drawn


def seed_generators(seed: int, device: torch.device) -> None:
    """Seeds the random numbers that work on ``device`` draws, and no other device's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


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

"""A pretrained network, fine-tuned once and kept: several tutorials look at the same one."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from captum_tfa.demo import Pictures, train_classifier
from common.networks import kept, pretrained


def fine_tuned(
    network: str,
    pictures: Pictures,
    cache: str | Path,
    epochs: int = 5,
    learning_rate: float = 3e-4,
    batch_size: int = 16,
    seed: int = 0,
) -> nn.Module:
    """A network for the classes of ``pictures``, all of whose weights were trained on.

    Args:
        network: A name that `pretrained` knows.
        pictures: The training set.
        cache: Folder where the weights are kept.
        epochs: Passes over the training set; the paper's number is 5.
        learning_rate: Adam's highest one in the cycle.
        batch_size: Pictures a step.
        seed: Of the new last layer and of the order of pictures.

    Returns:
        The network in eval mode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = pretrained(network, len(pictures.classes))

        def make(model: nn.Module) -> nn.Module:
            return train_classifier(model, pictures, epochs, batch_size, learning_rate, seed)

        side = pictures.images.shape[-1]
        key = f"{network}-{'-'.join(pictures.classes)}-{len(pictures)}x{side}"
        key += f"-{epochs}-{learning_rate:g}-{batch_size}-{seed}"
        return kept(Path(cache) / f"{key}.safetensors", model, make)

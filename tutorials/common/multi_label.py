"""Pictures that show several classes at once, and the training for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from captum_tfa.demo import fit


class MultiLabelPictures(Dataset[tuple[Tensor, Tensor]]):
    """A map-style dataset of ``(image [3, H, W], label [classes])`` over tensors.

    Args:
        images: The plain pictures, uint8, ``[N, 3, H, W]``.
        targets: 1 for each class that a picture shows, else 0; float, ``[N, classes]``.
        transform: Applied to a picture when it is asked for.
    """

    def __init__(
        self, images: Tensor, targets: Tensor, transform: Callable[[Tensor], Tensor]
    ) -> None:
        self.images, self.targets, self.transform = images, targets, transform

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.targets[index]


def train_multi_label(
    model: nn.Module,
    dataset: Dataset[tuple[Tensor, Tensor]],
    epochs: int,
    learning_rate: float,
    batch_size: int = 64,
    seed: int = 0,
) -> nn.Module:
    """The model, trained in place for one yes or no a class, in eval mode.

    Binary cross-entropy of each class, the mean over classes; Adam and one learning-rate cycle.

    Args:
        model: Gives logits ``[B, classes]``. Trained on the device where it is.
        dataset: Map-style, yields ``(image [3, H, W], label [classes])``.
        epochs: Passes over the data.
        learning_rate: The highest one of the cycle.
        batch_size: Examples a step; a last, smaller batch is left out.
        seed: Seed of the order of examples.

    Returns:
        ``model`` itself.
    """
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(dataset, batch_size, shuffle=True, drop_last=True, generator=order)
    loss_fn = nn.functional.binary_cross_entropy_with_logits
    fit(_ChannelsLast(model), loader, loss_fn, epochs, learning_rate, show_progress=True)
    return model


class _ChannelsLast(nn.Module):
    """A model that takes its images channels last: two thirds of the time on a CPU, if small."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.model(images.to(memory_format=torch.channels_last))
        return outputs

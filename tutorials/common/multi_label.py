"""Pictures that show several classes at once, and the training for them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm


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
    device = next(model.parameters()).device
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(dataset, batch_size, shuffle=True, drop_last=True, generator=order)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    model.train()
    with tqdm(total=steps, desc="training", unit="step") as bar:
        for _ in range(epochs):
            for images, targets in loader:
                # Channels last: small convolutions take two thirds of the time on a CPU.
                outputs = model(images.to(device, memory_format=torch.channels_last))
                loss = nn.functional.binary_cross_entropy_with_logits(outputs, targets.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                bar.update()
    optimizer.zero_grad()
    return model.eval()

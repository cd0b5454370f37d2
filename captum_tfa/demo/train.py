"""Seeded training of a small classifier, and its predictions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm


def train_classifier(
    model: nn.Module,
    dataset: Dataset[tuple[Tensor, int]],
    epochs: int = 6,
    batch_size: int = 64,
    learning_rate: float = 4e-3,
    seed: int = 0,
    show_progress: bool = False,
) -> nn.Module:
    """The model, trained in place with Adam and one learning-rate cycle, in eval mode.

    The same seed gives the same order of examples, so the same model on the same machine.
    PyTorch's global random state is not touched.

    Args:
        model: Gives logits ``[B, C]``. Trained on the device where it is.
        dataset: Map-style, yields ``(image [C, H, W], label)``.
        epochs: Passes over the data, at least 1.
        batch_size: Examples a step, at least 2 (BatchNorm needs two).
        learning_rate: The highest one of the cycle.
        seed: Seed of the order of examples.
        show_progress: Show a progress bar over the steps.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: Fewer than one epoch, or than two examples a step.
    """
    if epochs < 1 or batch_size < 2:
        raise ValueError(
            f"epochs is {epochs} and batch_size {batch_size}; "
            "epochs must be at least 1 and batch_size at least 2"
        )
    order = torch.Generator().manual_seed(seed)
    # A last batch of one example would break BatchNorm.
    loader = DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=True,
        drop_last=len(dataset) % batch_size == 1,  # type: ignore[arg-type]
        generator=order,
    )
    loss_fn = nn.functional.cross_entropy
    return fit(model, loader, loss_fn, epochs, learning_rate, show_progress)


def fit(
    model: nn.Module,
    loader: DataLoader[Any],
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    learning_rate: float,
    show_progress: bool = False,
) -> nn.Module:
    """The model, trained in place with Adam and one learning-rate cycle, in eval mode.

    Args:
        model: Trained on the device where it is.
        loader: Yields ``(inputs, labels)``.
        loss_fn: From the model's outputs and the labels to the mean loss.
        epochs: Passes over the loader.
        learning_rate: The highest one of the cycle.
        show_progress: Show a progress bar over the steps.

    Returns:
        ``model`` itself.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    model.train()
    with tqdm(total=steps, desc="training", unit="step", disable=not show_progress) as bar:
        for _ in range(epochs):
            for images, labels in loader:
                loss = loss_fn(model(images.to(device)), labels.to(device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
                bar.update()
    optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def predict(
    model: nn.Module, dataset: Dataset[tuple[Tensor, int]], batch_size: int = 256
) -> tuple[Tensor, Tensor]:
    """The model's class probabilities for a whole data set, in its order, and the labels.

    Args:
        model: In eval mode; gives logits ``[B, C]``.
        dataset: Map-style, yields ``(image [C, H, W], label)``.
        batch_size: Examples at once.

    Returns:
        ``(probabilities [N, C], labels [N])``, on the CPU.
    """
    device = next(model.parameters()).device
    probabilities, labels = [], []
    for images, batch_labels in DataLoader(dataset, batch_size=batch_size):
        probabilities.append(model(images.to(device)).softmax(dim=1).cpu())
        labels.append(batch_labels)
    return torch.cat(probabilities), torch.cat(labels)

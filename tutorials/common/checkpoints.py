"""A seeded training that leaves the checkpoints which TracIn asks for."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def train_with_checkpoints(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    every: int,
    learning_rate: float = 0.02,
    decay: float = 2e-3,
    batch_size: int = 32,
    norms_learn: bool = True,
) -> list[dict[str, Tensor]]:
    """SGD with momentum and one learning-rate cycle, passes in bfloat16; seed PyTorch before.

    Args:
        model: Trained in place; in evaluation mode afterwards.
        images: ``[N, ...]``.
        labels: Their classes, ``[N]``.
        epochs: Passes over the images.
        every: Epochs between checkpoints; the last one is always kept.
        learning_rate: The highest one of the cycle.
        decay: Of the weights.
        batch_size: Images a step.
        norms_learn: Whether BatchNorm takes the statistics of each batch, or keeps its own.

    Returns:
        The checkpoints, oldest first.
    """
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), learning_rate, momentum=0.9, weight_decay=decay)
    steps = epochs * -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps)
    model.train(norms_learn)
    kept = []
    for epoch in range(epochs):
        for batch in torch.randperm(len(labels)).split(batch_size):
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(images[batch])
            loss = nn.functional.cross_entropy(logits.float(), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % every == every - 1 or epoch == epochs - 1:
            state = model.state_dict().items()
            kept.append({name: value.clone().contiguous() for name, value in state})
    optimizer.zero_grad()
    model.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    return kept

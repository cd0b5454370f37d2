"""Where is the model wrong, and how sure is it there?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.gradients.batches import Batch, in_order, leaving_chance_alone


@dataclass(frozen=True, eq=False)
class Answers:
    """What the model says of every image of a data set.

    Attributes:
        labels: What is right, ``[T]``.
        predicted: The class that it says, ``[T]``.
        confidence: Its softmax probability, in [0, 1], ``[T]``.
        losses: The cross-entropy of the right label, in nats, ``[T]``.
    """

    labels: Tensor
    predicted: Tensor
    confidence: Tensor
    losses: Tensor

    def mistakes(self, most: int | None) -> Tensor:
        """Places of the wrong answers, the surest first; at most so many (None: all)."""
        wrong = (self.predicted != self.labels).nonzero()[:, 0]
        surest = self.confidence[wrong].argsort(descending=True, stable=True)
        return wrong[surest][:most]

    def sample(self, most: int) -> Tensor:
        """Places of test images spread evenly over the test set; at most so many."""
        count = len(self.labels)
        return torch.linspace(0, count - 1, min(count, most)).long()


@torch.no_grad()
def answers_of(
    model: nn.Module,
    dataset: Dataset[Any],
    classes: int,
    output_fn: Callable[[Any], Tensor] | None = None,
    batch_size: int = 64,
    num_workers: int = 0,
    show_progress: bool = False,
    what: str = "test_dataset",
) -> Answers:
    """What the model says of every image of a data set.

    Args:
        model: Gives logits ``[B, classes]``, or one logit for two classes.
        dataset: Yields ``(image [C, H, W], label)``.
        classes: How many classes there are.
        output_fn: Takes the logits from the model's output.
        batch_size: Images at once.
        num_workers: Processes that load them.
        show_progress: Show a progress bar.
        what: The data set's name in messages.

    Raises:
        ValueError: A label outside [0, classes), or a logit that is not finite.
    """
    device = next(model.parameters()).device
    loader = in_order(dataset, batch_size, num_workers)
    labels, predicted, confidence, losses = [], [], [], []
    done = 0
    with tqdm(
        leaving_chance_alone(loader),
        "prediction",
        len(loader),
        unit="batch",
        disable=not show_progress,
    ) as bar:
        for loaded in bar:
            batch = Batch.of(loaded, device, done)
            output = model(*batch.inputs)
            logits = output if output_fn is None else output_fn(output)
            _check(logits, batch.labels, classes, done, what)
            if logits.shape[1] == 1:  # the softmax of (0, logit) is the sigmoid
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            logged = logits.float().log_softmax(1)
            best = logged.max(1)
            asked = batch.labels.long()
            labels.append(asked.cpu())
            predicted.append(best.indices.cpu())
            confidence.append(best.values.exp().cpu())
            losses.append(-logged.gather(1, asked.unsqueeze(1))[:, 0].cpu())
            done += len(batch)
    return Answers(
        torch.cat(labels), torch.cat(predicted), torch.cat(confidence), torch.cat(losses)
    )


def _check(logits: Tensor, labels: Tensor, classes: int, start: int, what: str) -> None:
    for row, label in enumerate(labels.tolist()):
        if not 0 <= label < classes or label != int(label):
            raise ValueError(
                f"the label of {what}[{start + row}] is {label}; the model's classes are 0 to "
                f"{classes - 1}: training and test images must be labelled as the model was taught"
            )
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        raise ValueError(
            f"the model's answer to {what}[{start + int(finite.int().argmin())}] is not "
            "finite; check the image and the weights"
        )

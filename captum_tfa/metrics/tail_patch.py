"""Does one more training step on the named examples teach the model the test image?

The tail patch [chang2024scalable], for images: from the final model, one plain SGD step on each of
a query's top proponents alone; the change of the probability of the query's label, in the mean over
them. It needs no retraining, and says what more of the same would do, not what training without it
would have given. Always beside as many random training examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from captum_tfa.gradients.losses import OutputFn
from captum_tfa.metrics.measured_output import MeasuredOutput
from captum_tfa.metrics.paired import PairedDifference, paired_difference
from captum_tfa.metrics.sgd_step import loss_changes


@dataclass(frozen=True)
class TailPatch:
    """What one step on each of the top proponents does, beside random training examples.

    Attributes:
        proponents: Indices of the training examples, best first, ``[Q, k]``.
        changes: Of the probability of the query's label by a step on each, ``[Q, k]``.
        random: Indices of the random training examples, ``[Q, k]``.
        random_changes: The same for these.
    """

    proponents: Tensor
    changes: Tensor
    random: Tensor
    random_changes: Tensor

    def gap(self) -> PairedDifference:
        """Proponents minus random, over queries, each by its mean over k; higher is better."""
        sides = (self.changes.mean(1), self.random_changes.mean(1))
        return paired_difference(*sides, lower_is_better=False)


def tail_patch(
    model: nn.Module,
    train_dataset: Dataset[Any],
    test_images: Tensor,
    test_labels: Tensor,
    scores: Tensor,
    k: int = 10,
    step_size: float = 1e-3,
    output_fn: OutputFn | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> TailPatch:
    """Takes one step on each of the top proponents of each query, and on random examples.

    Costs ``2 Q k`` forward passes of a pair and as many backward passes.

    Args:
        model: The trained classifier, in evaluation mode. It is not changed.
        train_dataset: Map-style, yields ``(image, class label)``, N examples.
        test_images: The queries, ``[Q, ...]``.
        test_labels: Their classes, ``[Q]``.
        scores: Of each training example for each query, ``[Q, N]``; higher is more helpful.
        k: Proponents of a query, from 1 to N.
        step_size: Of the SGD step on the cross-entropy of one example, above 0.
        output_fn: Picks the logits out of what the model returns. See `Score`.
        seed: Of the random examples, drawn without replacement for each query.
        show_progress: Show a progress bar over queries.

    Raises:
        ValueError: Shapes that do not fit, ``k`` out of its range, scores that are not finite;
            otherwise see `loss_changes`.
    """
    count = len(train_dataset)  # type: ignore[arg-type]
    if list(scores.shape) != [len(test_images), count] or not bool(torch.isfinite(scores).all()):
        raise ValueError(
            f"scores have the shape {list(scores.shape)}, or are not finite; give finite "
            f"{[len(test_images), count]}, queries by training examples"
        )
    if not 1 <= k <= count:
        raise ValueError(f"k is {k}; it must be from 1 to {count}, the training examples")
    generator = torch.Generator().manual_seed(seed)
    best = scores.cpu().argsort(dim=1, descending=True, stable=True)[:, :k]
    drawn = torch.stack([torch.randperm(count, generator=generator)[:k] for _ in best])
    before = MeasuredOutput(test_images, test_labels, "log-softmax", output_fn=output_fn)(model)
    changes: list[list[Tensor]] = [[], []]
    for query in tqdm(range(len(best)), "tail patch", unit="query", disable=not show_progress):
        here = slice(query, query + 1)
        for side, rows in zip(changes, (best[query], drawn[query]), strict=True):
            examples = [train_dataset[row] for row in rows.tolist()]
            images = torch.stack([image for image, _ in examples]).to(test_images.device)
            labels = torch.tensor([int(label) for _, label in examples])
            change = loss_changes(
                model,
                images,
                labels.to(test_images.device),
                test_images[here].expand(k, *test_images.shape[1:]),
                test_labels[here].expand(k),
                step_size,
                output_fn=output_fn,
            )
            # log p after = log p before − change of the loss; p (e^d − 1) keeps small d exact.
            side.append(before[query].exp() * torch.expm1(-change.double().cpu()))
    return TailPatch(best, torch.stack(changes[0]), drawn, torch.stack(changes[1]))

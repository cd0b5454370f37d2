"""Training data as a stream of batches, in the order of the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler


@dataclass(frozen=True)
class Batch:
    """Training images and their labels, on the model's device."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    @classmethod
    def of(cls, loaded: Any, device: torch.device) -> Batch:
        """A batch as a loader gives it.

        Raises:
            TypeError: it is no pair of inputs and labels.
        """
        if not isinstance(loaded, tuple | list) or len(loaded) != 2:
            given = f"{len(loaded)} parts" if isinstance(loaded, tuple | list) else type(loaded)
            raise TypeError(
                "The training set must give pairs (input, label), or ((input, ...), label) for a "
                f"model with several inputs; a batch of it is {given}."
            )
        inputs, labels = loaded
        tensors = inputs if isinstance(inputs, tuple | list) else (inputs,)
        if not all(isinstance(tensor, Tensor) for tensor in (*tensors, labels)):
            raise TypeError(
                "The training set must give tensors and labels that can be batched; its inputs "
                f"come as {', '.join(type(tensor).__name__ for tensor in tensors)}. Give it a "
                "transform such as torchvision.transforms.ToTensor()."
            )
        return cls(tuple(tensor.to(device) for tensor in tensors), labels.to(device))


def split(inputs: Any) -> tuple[Any, Any]:
    """Test inputs and their labels, or ``None`` for labels that were not given.

    Raises:
        TypeError: neither inputs nor a pair of inputs and labels.
    """
    if isinstance(inputs, Tensor):
        return inputs, None
    if isinstance(inputs, tuple | list) and len(inputs) == 2:
        return inputs[0], inputs[1]
    raise TypeError(
        f"inputs is a {type(inputs).__name__}; give test images, or (test_images, labels)."
    )


def in_order(data: Any, batch_size: int, num_workers: int) -> DataLoader[Any]:
    """A loader that gives every example once, in the order of the training set.

    Raises:
        TypeError: neither a dataset nor a loader.
        ValueError: a loader that shuffles or drops examples, or a batch size below 1.
    """
    if isinstance(data, DataLoader):
        _refuse_other_orders(data)
        return data
    if not isinstance(data, Dataset) and not (
        hasattr(data, "__getitem__") and hasattr(data, "__len__")
    ):
        raise TypeError(
            f"train_dataset is a {type(data).__name__}; give a dataset or a DataLoader."
        )
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
    return DataLoader(data, batch_size=batch_size, num_workers=num_workers)


def _refuse_other_orders(loader: DataLoader[Any]) -> None:
    iterable = isinstance(loader.dataset, IterableDataset)
    if iterable and loader.num_workers > 1:
        raise ValueError(
            "Several workers give an iterable dataset in no fixed order; use num_workers=0 or 1."
        )
    in_turn = iterable or isinstance(loader.sampler, SequentialSampler)
    batches = loader.batch_sampler
    if not in_turn or not (batches is None or type(batches) is BatchSampler):
        raise ValueError(
            f"The loader draws examples with {type(loader.sampler).__name__}, so indices would "
            "not be those of the training set. Give the dataset itself, or a loader with "
            "shuffle=False and no sampler of its own."
        )
    if loader.drop_last and (iterable or len(loader.dataset) % (loader.batch_size or 1)):  # type: ignore[arg-type]
        raise ValueError("The loader drops its last examples; use drop_last=False.")
    if batches is None:
        raise ValueError("The loader does not make batches; give it a batch_size.")

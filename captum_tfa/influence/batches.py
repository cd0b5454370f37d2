"""Training data as a stream of batches, in the order of the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    default_collate,
)


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
        for tensor in tensors:
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"The training set gives inputs of type {type(tensor).__name__}; it must give "
                    "tensors. Add a transform such as torchvision.transforms.ToTensor()."
                )
        if not isinstance(labels, Tensor):
            raise TypeError(
                f"The training set gives labels of type {type(labels).__name__}; it must give "
                "numbers or tensors, as the loss takes them."
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
    _refuse_copied_streams(data, num_workers)
    return DataLoader(data, batch_size, num_workers=num_workers, collate_fn=_collated)


def _collated(examples: list[Any]) -> Any:
    """A batch; examples that cannot be batched as they are, so that `Batch.of` can tell why."""
    try:
        return default_collate(examples)
    except TypeError:
        return examples[0]


def _refuse_copied_streams(data: Any, num_workers: int) -> None:
    if isinstance(data, IterableDataset) and num_workers > 1:
        raise ValueError(
            "Several workers give an iterable dataset in no fixed order; use num_workers=0 or 1."
        )


def _refuse_other_orders(loader: DataLoader[Any]) -> None:
    _refuse_copied_streams(loader.dataset, loader.num_workers)
    batches = loader.batch_sampler
    if batches is None:
        raise ValueError("The loader does not make batches; give it a batch_size.")
    sampler = getattr(batches, "sampler", None)
    if type(batches) is not BatchSampler or not _goes_through(sampler, loader.dataset):
        raise ValueError(
            f"The loader draws examples with {type(sampler or batches).__name__}, so indices would "
            "not be those of the training set. Give the dataset itself, or a loader with "
            "shuffle=False and no sampler of its own."
        )
    if not getattr(loader, "in_order", True):
        raise ValueError("The loader gives batches as they come; use in_order=True.")
    stream = isinstance(loader.dataset, IterableDataset)
    if batches.drop_last and (stream or len(loader.dataset) % batches.batch_size):  # type: ignore[arg-type]
        raise ValueError("The loader drops its last examples; use drop_last=False.")


def _goes_through(sampler: object, dataset: Dataset[Any]) -> bool:
    """Whether the sampler gives all of this dataset in its order."""
    if isinstance(dataset, IterableDataset):
        return True
    if not isinstance(sampler, SequentialSampler):
        return False
    return len(sampler) == len(dataset)  # type: ignore[arg-type]

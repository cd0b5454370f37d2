"""Training data as a stream of batches, in the order of the training set."""

from __future__ import annotations

from collections.abc import Iterator
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

from captum_tfa.gradients.independence import RandomState


@dataclass(frozen=True)
class Batch:
    """Training images and their labels, on the model's device."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.inputs[0])

    @classmethod
    def of(cls, loaded: Any, device: torch.device, start: int = 0) -> Batch:
        """A batch as a loader gives it.

        Args:
            loaded: what the loader gave.
            device: the model's device.
            start: the index of its first example in the training set.

        Raises:
            TypeError: it is no pair of inputs and labels.
            ValueError: its images differ in size, or labels are not as many as images.
        """
        if isinstance(loaded, _Unequal):
            raise ValueError(
                f"Training example {start + loaded.row} has shape {loaded.shape}, others of its "
                f"batch have {loaded.others}. Resize or crop them to one size, or use batch_size=1."
            )
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
        rows = {len(tensor) if tensor.ndim else None for tensor in (*tensors, labels)}
        if len(rows) > 1 or None in rows:
            raise ValueError(
                f"A batch of the training set, from example {start} on, has "
                f"{', '.join(str(list(tensor.shape)) for tensor in tensors)} images for "
                f"{list(labels.shape)} labels; the first dimension of both counts examples."
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


@dataclass(frozen=True)
class _Unequal:
    """What stands for a batch whose examples have several sizes: the first that is not alike."""

    row: int
    shape: list[int]
    others: list[int]


def _collated(examples: list[Any]) -> Any:
    """A batch; examples that cannot be batched as they are, so that `Batch.of` can tell why."""
    try:
        return default_collate(examples)
    except TypeError:
        return examples[0]
    except RuntimeError:
        unequal = _first_unequal(examples)
        if unequal is None:
            raise
        return unequal


def _first_unequal(examples: list[Any]) -> _Unequal | None:
    shapes = [
        [list(part.shape) for part in _flat(example) if isinstance(part, Tensor)]
        for example in examples
    ]
    for row, own in enumerate(shapes):
        for shape, other in zip(own, shapes[0], strict=False):
            if shape != other:
                return _Unequal(row, shape, other)
    return None


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple | list):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def leaving_chance_alone(loader: DataLoader[Any]) -> Iterator[Any]:
    """The loader's batches; torch draws a random number to start one, which is put back."""
    own = loader.generator
    before = None if own is None else own.get_state()
    with torch.random.fork_rng(devices=[]):
        batches = iter(loader)
    if own is not None and before is not None:
        own.set_state(before)
    return batches


def first_inputs(loader: DataLoader[Any]) -> list[Tensor] | None:
    """The inputs of the first training example as a batch of one, where they can be had alone."""
    ordinary = loader.collate_fn in (_collated, default_collate)
    if isinstance(loader.dataset, IterableDataset) or not ordinary or not len(loader.dataset):  # type: ignore[arg-type]
        return None
    before = RandomState(torch.device("cpu"))
    example = loader.dataset[0]
    before.put_back()
    inputs = example[0] if isinstance(example, tuple | list) and example else None
    parts = inputs if isinstance(inputs, tuple | list) else [inputs]
    tensors = [part.unsqueeze(0) for part in parts if isinstance(part, Tensor)]
    return tensors if len(tensors) == len(parts) else None


def check_count(loader: DataLoader[Any], found: int) -> None:
    """Raise if the loader gave another number of examples than the training set has.

    Raises:
        ValueError: it did: indices would not be those of the training set.
    """
    if isinstance(loader.dataset, IterableDataset):
        return
    count = len(loader.dataset)  # type: ignore[arg-type]
    if found != count:
        raise ValueError(
            f"The loader gave {found} examples of a training set of {count}, so indices would not "
            "be those of the training set. Its collate_fn must keep every example: filter the data "
            "set instead, for example with torch.utils.data.Subset."
        )


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

"""The training examples to which a curvature is fitted, batch by batch, as often as needed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, Subset
from tqdm.auto import tqdm

from captum_tfa.curvature.fingerprint import examples_hash
from captum_tfa.gradients.batches import Batch, in_order
from captum_tfa.gradients.independence import RandomState

# So many examples stand for the data in a fingerprint.
_SAMPLE = 16


class Numbered(NamedTuple):
    """A batch of examples.

    Attributes:
        inputs: the model's inputs, each ``[B, ...]``.
        labels: the true labels ``[B, ...]``.
        seeds: of each example, ``[B]``, on the CPU.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor
    seeds: Tensor


class Examples:
    """Examples of a training set, each with a seed of its own.

    Args:
        data: pairs ``(input, label)``: a dataset with a length, or a loader of one.
        batch_size: examples at once, for a dataset.
        most: how many to use, drawn without repetition; ``None`` uses all.
        seed: of what is drawn.
        device: where batches are wanted.

    Raises:
        TypeError: neither a dataset nor a loader, or a stream without a length.
        ValueError: no example, or a ``most`` below 1.
    """

    def __init__(
        self, data: Any, batch_size: int, most: int | None, seed: int, device: torch.device
    ) -> None:
        given = data.dataset if isinstance(data, DataLoader) else data
        if isinstance(given, IterableDataset) or not hasattr(given, "__len__"):
            raise TypeError(
                f"train_dataset is a {type(given).__name__}; a curvature is fitted in several "
                "passes over examples that can be asked for by their index. Give a dataset with "
                "__getitem__ and __len__, such as a TensorDataset of a part of the stream."
            )
        if most is not None and (isinstance(most, bool) or not hasattr(most, "__index__")):
            raise TypeError(f"max_examples is a {type(most).__name__}; give a number or None.")
        if most is not None and most < 1:
            raise ValueError(f"max_examples is {most}; it must be at least 1, or None for all.")
        self.total = len(given)
        if not self.total:
            raise ValueError("train_dataset is empty; there is nothing to fit a curvature to.")
        draw = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.total, generator=draw)
        # Torch's generator looks at 32 bits of a seed.
        self._seeds = torch.randint(2**32, (self.total,), generator=draw)
        self.indices = order[:most].sort().values
        self._seed, self._device = seed, device
        self._loader = self._loader_of(data, given, batch_size)

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, what: str, show_progress: bool) -> Iterator[Numbered]:
        """One batch after the other; the same numbers in every pass.

        What the data set draws at random comes from the same seed each time, and the caller's
        random numbers are left as they were.

        Args:
            what: names the pass in the progress bar.
            show_progress: whether there is one.
        """
        found = 0
        with tqdm(total=len(self), desc=what, unit="example", disable=not show_progress) as bar:
            for loaded in self._loaded(self._loader):
                batch = Batch.of(loaded, self._device, found)
                rows = self.indices[found : found + len(batch)]
                found += len(batch)
                yield Numbered(batch.inputs, batch.labels, self._seeds[rows])
                bar.update(len(batch))
        if found != len(self):
            raise ValueError(
                f"The loader gave {found} of {len(self)} examples; its collate_fn must keep "
                "every example."
            )

    def words(self) -> str:
        """How many examples there are, how many are used, and a hash of a few of them."""
        places = torch.linspace(0, len(self) - 1, min(_SAMPLE, len(self))).long()
        few = DataLoader(
            Subset(self._loader.dataset, places.tolist()),
            collate_fn=self._loader.collate_fn,
            generator=torch.Generator(),
        )
        found = [Batch.of(loaded, torch.device("cpu")) for loaded in self._loaded(few)]
        hashed = examples_hash((*batch.inputs, batch.labels) for batch in found)
        return f"{len(self)} of {self.total} examples, {hashed}"

    def _loader_of(self, data: Any, dataset: Any, batch_size: int) -> DataLoader[Any]:
        """A loader of the chosen examples with a generator of its own."""
        plain = in_order(dataset, batch_size, 0)
        loader = data if isinstance(data, DataLoader) else plain
        return DataLoader(
            Subset(dataset, self.indices.tolist()),
            batch_size=loader.batch_size or 1,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            generator=torch.Generator().manual_seed(self._seed),
        )

    def _loaded(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """What a loader gives, from the same seed each time; the caller's chance is left alone."""
        own: RandomState | None = None
        batches: Iterator[Any] = iter(())
        while True:
            outside = RandomState(torch.device("cpu"))
            try:
                if own is None:
                    _seed_all(self._seed)
                    loader.generator.manual_seed(self._seed)  # seeds its workers
                    batches = iter(loader)
                else:
                    own.put_back()
                loaded = next(batches, None)
                own = RandomState(torch.device("cpu"))
            finally:
                outside.put_back()
            if loaded is None:
                return
            yield loaded


def _seed_all(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)

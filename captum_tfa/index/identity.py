"""Is this index of this model, loss and data?

Numbers of another one would look as good as the right ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Subset

from captum_tfa.curvature.fingerprint import examples_hash, loss_words, model_hash
from captum_tfa.gradients.batches import Batch, in_order, leaving_chance_alone
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.selection import choose
from captum_tfa.index.settings import Settings
from captum_tfa.scores import Score

# So many examples stand for the data.
_SAMPLE = 16


def of_score(score: Score) -> dict[str, Any]:
    """Of which model, loss and parameters the training gradients of a score are."""
    chosen = choose(score.model, score.choice)
    return {
        "model": model_hash(score.model),
        "loss": loss_words(ExampleLosses(score.loss_fn, score.output_fn)),
        "parameters": {name: list(parameter.shape) for name, parameter in chosen.items()},
    }


def refuse_other_score(settings: Settings, score: Score, folder: Path) -> None:
    """Raise if an index is of another model, other weights, another loss or other parameters.

    Raises:
        ValueError: with both sides.
    """
    refuse_others(folder, vars(settings), of_score(score))


def refuse_others(folder: Path, found: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise where an index was built with something else than what is given now.

    Raises:
        ValueError: with both sides of the first difference.
    """
    for name, value in given.items():
        if found[name] != value:
            before, now = found[name], value
            if isinstance(before, Mapping) and isinstance(now, Mapping):
                before, now = _differing(before, now)
            before, now = (side if side != "" else "none" for side in (before, now))
            raise ValueError(
                f"The index in {folder} is another one: it was built with {name} {before}, and "
                f"{name} {now} was given. Give the same, or build an index in another folder."
            )


def _differing(found: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str]:
    """The first parameter that two choices do not share, on either side."""
    names = [name for name in {**found, **given} if found.get(name) != given.get(name)]
    first = names[0]
    sides = [
        f"{first} {side[first]}" if first in side else f"without {first}" for side in (found, given)
    ]
    return f"({len(found)}) {sides[0]}", f"({len(given)}) {sides[1]}"


class IndexedData:
    """The examples of a training set that can be asked for by their numbers.

    Args:
        data: pairs ``(input, label)``: a dataset with a length, or a loader of one, whose batch
            size, workers and collation are then used.
        batch_size: examples at once, for a dataset.
        num_workers: processes that load a dataset's examples.

    Raises:
        TypeError: neither a dataset nor a loader, or a stream without a length.
        ValueError: no example, a loader that shuffles, or a ``batch_size`` below 1.
    """

    def __init__(self, data: Any, batch_size: int, num_workers: int) -> None:
        given = data.dataset if isinstance(data, DataLoader) else data
        if isinstance(given, IterableDataset):
            raise TypeError(
                f"train_dataset is a {type(given).__name__}, a stream; an index is built in parts "
                "and goes on where it stopped, so examples must be found by their number. Give a "
                "dataset with __getitem__ and __len__."
            )
        self.loader = in_order(data, batch_size, num_workers)
        self.dataset = self.loader.dataset
        self.count = len(self.dataset)  # type: ignore[arg-type]
        if not self.count:
            raise ValueError("The training set is empty; there is nothing to index.")
        self.batch_size = int(self.loader.batch_size or 1)

    def batches(
        self, rows: Sequence[int], device: torch.device, batch_size: int | None = None
    ) -> Iterator[Batch]:
        """Some of the examples, batch after batch.

        Args:
            rows: their numbers, at least one.
            device: where the batches are wanted.
            batch_size: examples at once; ``None``: as given at first.

        Yields:
            Batches in the order of ``rows``.
        """
        loader = DataLoader(
            Subset(self.dataset, rows),
            batch_size or self.batch_size,
            num_workers=self.loader.num_workers,
            collate_fn=self.loader.collate_fn,
        )
        found = 0
        for loaded in leaving_chance_alone(loader):
            batch = Batch.of(loaded, device, rows[min(found, len(rows) - 1)])
            found += len(batch)
            yield batch
        if found != len(rows):
            raise ValueError(
                f"The loader gave {found} of {len(rows)} examples; its collate_fn must keep every "
                "example."
            )

    def sample(self, count: int) -> str:
        """A hash of some of the first ``count`` examples, as the model gets them."""
        places = torch.linspace(0, count - 1, min(_SAMPLE, count)).long().tolist()
        batches = self.batches(places, torch.device("cpu"), batch_size=1)
        return examples_hash((*batch.inputs, batch.labels) for batch in batches)

    def preparation(self) -> str:
        """How the data set prepares its images, in words; empty if it does not say."""
        dataset: Any = self.dataset
        while isinstance(dataset, Subset):
            dataset = dataset.dataset
        transform = getattr(dataset, "transform", None)
        words = "" if transform is None else " ".join(repr(transform).split())
        return re.sub(r" at 0x[0-9a-f]+", "", words)

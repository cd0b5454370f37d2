from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from captum_tfa.curvature.examples import Examples, Numbered
from tests.curvature.slow import MLP, dataset

CPU = torch.device("cpu")


class Chancy(Dataset[tuple[Tensor, int]]):
    """Images that torch, numpy and Python's own generator change."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        noise = torch.rand(2) + random.random() + np.random.rand()
        return noise + 10 * index, index


def parts_of(batch: Numbered) -> tuple[Tensor, ...]:
    return *batch.inputs, batch.labels, batch.seeds


def read(examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
    batches = list(examples.batches("", False))
    return tuple(torch.cat(parts) for parts in zip(*map(parts_of, batches), strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_every_pass_sees_the_same_and_leaves_chance_alone(workers: int) -> None:
    data: Any = DataLoader(Chancy(), 3, num_workers=workers) if workers else Chancy()
    examples = Examples(data, 3, None, 0, CPU)
    before = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist())
    one, other = read(examples), read(examples)
    assert (
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
    ) == before
    for first, second in zip(one, other, strict=True):
        assert torch.equal(first, second)


def test_seeds_belong_to_examples_not_to_batches() -> None:
    data = dataset(MLP, 9)
    whole, few = Examples(data, 4, None, 2, CPU), Examples(data, 1, 5, 2, CPU)
    images, labels, seeds = read(whole)
    some_images, some_labels, some_seeds = read(few)
    assert len(few) == 5
    assert len(set(few.indices.tolist())) == 5
    assert torch.equal(some_images, images[few.indices])
    assert torch.equal(some_labels, labels[few.indices])
    assert torch.equal(some_seeds, seeds[few.indices])
    assert len(set(seeds.tolist())) == 9


def test_words_change_with_the_data() -> None:
    data = dataset(MLP, 40)
    images, labels = data.tensors
    words = Examples(data, 4, None, 0, CPU).words()
    assert words == Examples(data, 9, None, 0, CPU).words()
    assert words.startswith("40 of 40 examples, ")
    other = labels.clone()
    other[0] = (other[0] + 1) % 5
    assert words != Examples(TensorDataset(images, other), 4, None, 0, CPU).words()
    assert words != Examples(TensorDataset(images + 1e-9, labels), 4, None, 0, CPU).words()


def test_a_loader_that_loses_examples_is_refused() -> None:
    loader = DataLoader(
        dataset(MLP, 6), 3, collate_fn=lambda examples: default_collate(examples[:2])
    )
    with pytest.raises(ValueError, match="gave 4 of 6 examples; its collate_fn"):
        read(Examples(loader, 3, None, 0, CPU))

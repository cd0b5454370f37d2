"""Training data that cannot be ranked in order, or at all, are refused with a remedy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from captum_tfa import GradCosScore, ScoreInfluence
from captum_tfa.gradients.batches import Batch, in_order, split
from tests.influence.tiny_sets import TESTS, Streamed, images, linear_and_conv, training_set

EXAMPLES = training_set()


def _batches(sampler: Any, drop_last: bool = False) -> DataLoader[Any]:
    return DataLoader(EXAMPLES, batch_sampler=BatchSampler(sampler, 4, drop_last))


OTHER_ORDERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "shuffled": lambda: DataLoader(EXAMPLES, 4, shuffle=True),
    "random": lambda: DataLoader(EXAMPLES, 4, sampler=RandomSampler(EXAMPLES, num_samples=5)),
    "weighted": lambda: DataLoader(EXAMPLES, 4, sampler=WeightedRandomSampler([1.0] * 11, 11)),
    "part of it": lambda: DataLoader(EXAMPLES, 4, sampler=SubsetRandomSampler(range(4))),
    "own sampler": lambda: DataLoader(EXAMPLES, 4, sampler=[3, 1, 2]),
    "own batches": lambda: DataLoader(EXAMPLES, batch_sampler=[[3, 1], [2]]),
    "shuffled batches": lambda: _batches(RandomSampler(EXAMPLES)),
    "batches of a part": lambda: _batches(range(4)),
    "sampler of another set": lambda: DataLoader(EXAMPLES, 4, sampler=SequentialSampler(range(5))),
}


@pytest.mark.parametrize("name", OTHER_ORDERS)
def test_loader_in_another_order_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"Give the dataset itself, or a loader with shuffle=Fals"):
        in_order(OTHER_ORDERS[name](), 64, 0)


@pytest.mark.parametrize(
    "loader",
    [
        lambda: DataLoader(EXAMPLES, 4, drop_last=True),
        lambda: DataLoader(Streamed(EXAMPLES), 4, drop_last=True),
        lambda: _batches(SequentialSampler(EXAMPLES), drop_last=True),
    ],
    ids=["dataset", "stream", "batches"],
)
def test_loader_that_drops_examples_is_refused(loader: Callable[[], DataLoader[Any]]) -> None:
    with pytest.raises(ValueError, match=r"drops its last examples; use drop_last=False"):
        in_order(loader(), 64, 0)


@pytest.mark.parametrize("examples", [EXAMPLES, Streamed(EXAMPLES)], ids=["dataset", "stream"])
def test_loader_that_makes_no_batches_is_refused(examples: Any) -> None:
    with pytest.raises(ValueError, match="does not make batches; give it a batch_size"):
        in_order(DataLoader(examples, batch_size=None), 64, 0)


def test_stream_from_several_processes_is_refused() -> None:
    """Each would give every example, in no fixed order."""
    message = "Several workers give an iterable dataset in no fixed order; use num_workers=0 or 1"
    with pytest.raises(ValueError, match=message):
        in_order(DataLoader(Streamed(EXAMPLES), 4, num_workers=2), 64, 0)
    with pytest.raises(ValueError, match=message):
        in_order(Streamed(EXAMPLES), 4, 2)


@pytest.mark.skipif(
    "in_order" not in inspect.signature(DataLoader).parameters, reason="this torch always keeps it"
)
def test_loader_that_gives_batches_as_they_come_is_refused() -> None:
    loader = DataLoader(EXAMPLES, 2, num_workers=2, in_order=False)
    with pytest.raises(ValueError, match="in_order"):
        in_order(loader, 64, 0)


@pytest.mark.parametrize("name", ["shuffled", "own batches"])
def test_ranking_refuses_at_once(name: str) -> None:
    """Not after a long pass over the training set."""
    with pytest.raises(ValueError, match="indices would not be those of the training set"):
        ScoreInfluence(GradCosScore(linear_and_conv()), OTHER_ORDERS[name]())


@pytest.mark.parametrize("data", [None, 5, (pair for pair in EXAMPLES), iter([])])
def test_something_else_than_training_data_is_refused(data: Any) -> None:
    with pytest.raises(TypeError, match=rf"train_dataset is a {type(data).__name__}; give a datas"):
        in_order(data, 64, 0)


@pytest.mark.parametrize("size", [0, -1])
def test_batch_size_below_one_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"batch_size is {size}; it must be at least 1"):
        in_order(EXAMPLES, size, 0)


def test_dataset_is_loaded_in_order_in_batches() -> None:
    loaded = list(in_order(EXAMPLES, 4, 0))
    assert [len(inputs) for inputs, _ in loaded] == [4, 4, 3]
    assert torch.equal(torch.cat([inputs for inputs, _ in loaded]), EXAMPLES.tensors[0])
    assert torch.equal(torch.cat([labels for _, labels in loaded]), EXAMPLES.tensors[1])


def _ranking(examples: Any) -> None:
    ScoreInfluence(GradCosScore(linear_and_conv()), examples).influence(TESTS)


@pytest.mark.parametrize(
    "examples",
    [
        list(images(3, 1)),
        TensorDataset(images(3, 1)),
        TensorDataset(images(3, 1), torch.arange(3), torch.arange(3)),
        [{"image": image, "label": 1} for image in images(3, 1)],
    ],
    ids=["images alone", "one tensor", "three tensors", "dicts"],
)
def test_examples_that_are_no_pairs_are_refused(examples: Any) -> None:
    with pytest.raises(TypeError, match=r"training set must give pairs \(input, label\)"):
        _ranking(examples)
    influence = ScoreInfluence(GradCosScore(linear_and_conv()), examples)
    with pytest.raises(TypeError, match=r"training set must give pairs \(input, label\)"):
        influence.self_influence()


def test_pictures_that_are_no_tensors_yet_are_refused_with_the_transform_to_add() -> None:
    with pytest.raises(TypeError, match=r"torchvision\.transforms\.ToTensor\(\)"):
        _ranking([(Image.new("RGB", (6, 6)), 1)])


def test_labels_that_are_names_are_refused_as_labels() -> None:
    with pytest.raises(TypeError, match="label") as caught:
        _ranking([(image, "bee") for image in images(3, 1)])
    assert "ToTensor" not in str(caught.value)


@pytest.mark.parametrize("k", [None, 2])
def test_empty_training_set_is_refused(k: int | None) -> None:
    influence = ScoreInfluence(GradCosScore(linear_and_conv()), [])
    with pytest.raises(ValueError, match="The training set is empty; there is nothing to rank"):
        influence.influence(TESTS, k=k)
    with pytest.raises(ValueError, match="The training set is empty; there is nothing to rank"):
        influence.self_influence()


def test_training_label_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="Label 3 was given; the model has classes 0 to 2"):
        _ranking([(images(1, 1)[0], 3)])


def test_batch_is_a_pair_on_the_device() -> None:
    loaded = [images(2, 1), torch.tensor([0, 1])]
    batch = Batch.of(loaded, torch.device("cpu"))
    assert [tensor.tolist() for tensor in batch.inputs] == [loaded[0].tolist()]
    assert batch.labels.tolist() == [0, 1]
    with pytest.raises(TypeError, match="a batch of it is 3 parts"):
        Batch.of([*loaded, 1], torch.device("cpu"))


def test_test_inputs_come_with_or_without_labels() -> None:
    assert split(TESTS) == (TESTS, None)
    assert split((TESTS, 1)) == (TESTS, 1)
    assert split(((TESTS, TESTS), None)) == ((TESTS, TESTS), None)

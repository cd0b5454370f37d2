"""Training data that do not fit are named by the index of the example, never passed over."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, default_collate

from captum_tfa import GradCosScore, ScoreInfluence
from tests.oracle import SlowScore, relative_error, small_cnn

COUNT = 13


def _score() -> GradCosScore:
    return GradCosScore(small_cnn().double().eval())


def _images(count: int, *size: int) -> Tensor:
    return torch.randn(count, *(size or (3, 8, 8)), dtype=torch.float64)


def _pairs(count: int = COUNT) -> list[tuple[Tensor, int]]:
    return [(image, index % 5) for index, image in enumerate(_images(count))]


TEST = (_images(1), 1)


@pytest.mark.parametrize("k", [None, 2])
def test_a_loader_that_leaves_examples_out_is_refused(k: int | None) -> None:
    def leaves_out(examples: list[Any]) -> Any:
        return default_collate([example for example in examples if example[1] != 3])

    loader = DataLoader(_pairs(), 4, collate_fn=leaves_out)  # type: ignore[arg-type]
    influence = ScoreInfluence(_score(), loader)
    with pytest.raises(ValueError, match=r"gave 11 examples of a training set of 13.*collate_fn"):
        influence.influence(TEST, k=k)
    with pytest.raises(ValueError, match="gave 11 examples"):
        influence.self_influence()


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_a_wrong_label_is_named_with_its_index(batch_size: int) -> None:
    pairs = _pairs()
    pairs[9] = pairs[9][0], 7
    influence = ScoreInfluence(_score(), pairs, batch_size)
    with pytest.raises(ValueError, match="Training example 9: Label 7 was given"):
        influence.influence(TEST)
    with pytest.raises(ValueError, match="Training example 9: Label 7 was given"):
        influence.self_influence()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_is_named_with_its_index(bad: float) -> None:
    pairs = _pairs()
    pairs[6][0][0, 2, 3] = bad
    with pytest.raises(RuntimeError, match=r"Training example 6: .*not finite"):
        ScoreInfluence(_score(), pairs, 4).influence(TEST)


@pytest.mark.parametrize("batch_size", [4, 64])
def test_images_of_several_sizes_are_named_with_their_index(batch_size: int) -> None:
    pairs = _pairs()
    pairs[6] = _images(1, 3, 9, 8)[0], 0
    pattern = r"Training example 6 has shape \[3, 9, 8\], others .* \[3, 8, 8\]. Resize"
    with pytest.raises(ValueError, match=pattern):
        ScoreInfluence(_score(), pairs, batch_size).influence(TEST)
    one_by_one = ScoreInfluence(_score(), pairs, 1).influence(TEST)
    assert one_by_one.shape == (1, COUNT)


def test_test_images_without_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has shape \[3, 8, 8\].*unsqueeze\(0\)"):
        ScoreInfluence(_score(), _pairs()).influence((TEST[0][0], 1))
    with pytest.raises(ValueError, match=r"has shape \[3, 8, 8\].*unsqueeze\(0\)"):
        _score()(_images(2), TEST[0][0], 1, 0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.int64])
def test_labels_of_every_integer_type(dtype: torch.dtype) -> None:
    images = _images(4)
    labels = torch.tensor([0, 4, 2, 1])
    pairs = [(image, label.to(dtype)) for image, label in zip(images, labels, strict=True)]
    score = _score()
    expected = SlowScore(score.model)(images, TEST[0], 1, labels)
    given = ScoreInfluence(score, pairs).influence((TEST[0], torch.tensor([1]).to(dtype)))
    assert relative_error(given[0], expected.detach()) < 1e-8


@pytest.mark.parametrize("kind", [int, np.int64, np.int32, lambda k: torch.tensor(k)])
def test_k_may_be_any_whole_number(kind: Any) -> None:
    best = ScoreInfluence(_score(), _pairs()).influence(TEST, k=kind(3))
    assert best.indices.shape == (1, 3)


@pytest.mark.parametrize("wrap", [lambda pairs: pairs, lambda pairs: DataLoader(pairs, 4)])
def test_a_ranking_draws_no_random_number_of_the_caller(wrap: Any) -> None:
    influence = ScoreInfluence(_score(), wrap(_pairs()))
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    influence.influence(TEST, k=2)
    influence.self_influence()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


def test_a_ranking_leaves_the_loaders_own_generator_alone() -> None:
    own = torch.Generator().manual_seed(5)
    before = own.get_state()
    ScoreInfluence(_score(), DataLoader(_pairs(), 4, generator=own)).influence(TEST)
    assert torch.equal(own.get_state(), before)


class Trims(nn.Module):
    """Leaves out the tokens that are padding in every row, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(3, 4), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        real = tokens[..., :1] > -5
        longest = int(real.sum(1).max())
        hidden = self.inner(tokens[:, :longest]).tanh() * real[:, :longest]
        return self.out(hidden.sum(1))


@pytest.mark.parametrize("tests", [3, 16, 17, 40])
def test_many_tests_of_a_model_that_trims_padding(tests: int) -> None:
    model = Trims().double().eval()
    train, test = _images(5, 6, 3), _images(tests, 6, 3)
    for row, tokens in enumerate(test):  # the longest of one pass is not that of the next
        tokens[1 + row // 9 :] = -9
    labels = torch.arange(tests) % 3
    score = GradCosScore(model)
    given = ScoreInfluence(score, [(one, 1) for one in train]).influence((test, labels))
    for row in range(tests):
        expected = SlowScore(model)(train, test[[row]], int(labels[row]), 1)
        assert relative_error(given[row], expected.detach()) < 1e-8

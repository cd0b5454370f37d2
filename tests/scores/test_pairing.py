from __future__ import annotations

import pytest
import torch
from torch import Tensor

from captum_tfa import GradCosScore
from captum_tfa.scores.pairing import as_labels, as_tensors, label_rows, matched
from tests.oracle import NETS

case = NETS["small cnn"]
CPU = torch.device("cpu")


def _score(
    train: object, test: object, test_target: object = 1, train_target: object = 2
) -> Tensor:
    return GradCosScore(case.model())(train, test, test_target, train_target)  # type: ignore[arg-type]


def test_rows_that_match_neither_one_nor_the_batch_are_refused() -> None:
    (train,), (test,) = case.inputs(3), case.inputs(2, seed=2)
    with pytest.raises(ValueError, match="test_inputs has 2 rows for 3 training examples; give 1"):
        _score(train, test)
    with pytest.raises(ValueError, match="test_target has 2 rows for 3 training examples"):
        _score(train, test[:1], [0, 1])
    with pytest.raises(ValueError, match="train_target has 4 rows for 3 training examples"):
        _score(train, test[:1], 1, [0, 1, 2, 3])
    score = GradCosScore(case.model())
    with pytest.raises(ValueError, match="test_target has 3 rows for 2 test examples"):
        score.test_gradients(test, [0, 1, 2])
    with pytest.raises(ValueError, match="train_target has 2 rows for 3"):
        score.against(train, [0, 1], score.test_gradients(test, 0))


@pytest.mark.parametrize("inputs", [None, "image", 3, [[1.0, 2.0]], (None,)])
def test_inputs_that_are_no_tensors_are_refused(inputs: object) -> None:
    (images,) = case.inputs(2)
    with pytest.raises(TypeError, match="train_inputs must be a tensor or a tuple of tensors, not"):
        _score(inputs, images)
    with pytest.raises(TypeError, match="test_inputs must be a tensor or a tuple of tensors, not"):
        _score(images, inputs)


@pytest.mark.parametrize("inputs", [torch.zeros(0, 3, 8, 8), torch.tensor(1.0), (), []])
def test_inputs_without_examples_are_refused(inputs: object) -> None:
    (images,) = case.inputs(2)
    with pytest.raises(ValueError, match="train_inputs holds no example; its first dimension"):
        _score(inputs, images)
    with pytest.raises(ValueError, match="test_inputs holds no example"):
        _score(images, inputs)


def test_inputs_with_different_numbers_of_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="train_inputs has tensors of 3, 2 rows; all must have"):
        _score((torch.ones(3, 2), torch.ones(2, 2)), torch.ones(1, 2))


def test_inputs_on_another_device_are_refused() -> None:
    (images,) = case.inputs(2)
    with pytest.raises(
        ValueError, match=r"train_inputs is on meta, the model on cpu; .*\.to\('cpu'\)"
    ):
        _score(images.to("meta"), images)
    with pytest.raises(ValueError, match="test_inputs is on meta, the model on cpu"):
        _score(images, images.to("meta"))


@pytest.mark.parametrize("labels", ["dog", object(), ["dog"], {1: 2}])
def test_labels_that_are_no_numbers_are_refused(labels: object) -> None:
    (images,) = case.inputs(2)
    with pytest.raises(
        TypeError, match=r"test_target is a .*; give a tensor of labels, a number or"
    ):
        _score(images, images, labels)
    with pytest.raises(TypeError, match=r"train_target is a .*; give a tensor of labels"):
        _score(images, images, 1, labels)


def test_as_tensors_makes_a_tuple_and_copies_inference_tensors_only() -> None:
    image = torch.ones(2, 3)
    assert as_tensors(image, "it", CPU)[0] is image
    assert as_tensors((image, image), "it", CPU) == (image, image)
    assert as_tensors([image, image], "it", CPU) == (image, image)
    with torch.inference_mode():
        frozen = torch.ones(2, 3)
    (taken,) = as_tensors(frozen, "it", CPU)
    assert not taken.is_inference()
    assert torch.equal(taken, frozen)


def test_as_labels_takes_numbers_lists_and_tensors() -> None:
    assert as_labels(None, "it", CPU) is None
    for given in (3, [3], torch.tensor(3), torch.tensor([3])):
        labels = as_labels(given, "it", CPU)
        assert labels is not None
        assert labels.tolist() == [3]
    floats = torch.rand(2, 3, requires_grad=True)
    taken = as_labels(floats, "it", CPU)
    assert taken is not None
    assert not taken.requires_grad
    assert torch.equal(taken, floats)


def test_matched_repeats_one_row_without_copying() -> None:
    one = torch.randn(1, 2)
    assert matched(one, 4, "it").data_ptr() == one.data_ptr()
    assert torch.equal(matched(one, 4, "it"), one.repeat(4, 1))
    assert torch.equal(matched(one.repeat(6, 1), 4, "it"), one.repeat(4, 1))
    four = torch.randn(4, 2)
    assert matched(four, 4, "it") is four
    with pytest.raises(ValueError, match="it has 6 rows for 4"):
        matched(torch.randn(6, 2), 4, "it")


def test_label_rows_of_no_labels_are_none() -> None:
    assert label_rows(None, slice(0, 1)) is None
    labels = label_rows(torch.tensor([4, 5, 6]), [2, 0])
    assert labels is not None
    assert labels.tolist() == [6, 4]

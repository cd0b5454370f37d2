"""The arguments of `attribute` become rows, or a message that says what to give instead."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradCosScore, LayerTrainingGradCos, TrainingGradCos
from captum_tfa.attr import TrainingIntegratedGradients
from captum_tfa.attr.rows import row_chunks, rows_of
from captum_tfa.attr.training_gradient import TrainingGradient
from captum_tfa.gradients import GradientEngine
from captum_tfa.scores import distinct_tests
from captum_tfa.scores.distinct_tests import distinct
from tests.attr.small_nets import PictureAndNumbers, drawn, made, pictures, small_net

TRAIN, TEST = pictures(2, 1), pictures(1, 2)


def _pixels() -> TrainingGradCos:
    return TrainingGradCos(small_net())


def _layer() -> LayerTrainingGradCos:
    model = small_net()
    return LayerTrainingGradCos(model, model.conv2)


@pytest.mark.parametrize("make", [_pixels, _layer])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "must say which test image is explained.*nothing came"),
        ({"additional_forward_args": ()}, "must say which test image.*0 arguments came"),
        ({"additional_forward_args": (None, 1)}, "must say which test image.*2 arguments came"),
        (
            {"additional_forward_args": (TEST, 1, 2, 0)},
            r"\(test_inputs, test_target, train_target\).*4 arguments came",
        ),
        (
            {"target": 1, "additional_forward_args": (TEST, 1, 2)},
            "labels were given twice, as target and as the third.*give them once",
        ),
        (
            {"additional_forward_args": pictures(3, 2)},
            "test input has 3 rows for 2 training examples; give 1 row for all.*or 2 rows",
        ),
        (
            {"additional_forward_args": (TEST, torch.tensor([0, 1, 2]))},
            "test label has 3 rows for 2 training examples; give 1 row for all.*or 2 rows",
        ),
        (
            {"target": [0, 1, 2], "additional_forward_args": TEST},
            r"training label \(target\) has 3 rows for 2 training examples; give 1 row",
        ),
        (
            {"target": 3, "additional_forward_args": TEST},
            "Label 3 was given; the model has classes 0 to 2",
        ),
        (
            {"target": -1, "additional_forward_args": TEST},
            "Label -1 was given; the model has classes 0 to 2",
        ),
        ({"inputs": TRAIN[:0], "additional_forward_args": TEST}, "inputs holds no example"),
        ({"inputs": (), "additional_forward_args": TEST}, "inputs holds no example"),
        ({"additional_forward_args": TEST[:0]}, "test input holds no example"),
        (
            {"inputs": (TRAIN, TRAIN[:1]), "additional_forward_args": TEST},
            "inputs has tensors of 2, 1 rows; all must have the same number",
        ),
        (
            {"additional_forward_args": TEST, "internal_batch_size": 0},
            "internal_batch_size is 0; it must be at least 1, or None",
        ),
        (
            {"additional_forward_args": TEST, "internal_batch_size": -3},
            "internal_batch_size is -3; it must be at least 1, or None",
        ),
    ],
)
def test_wrong_values_are_refused_with_a_remedy(
    make: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make().attribute(**{"inputs": TRAIN, **arguments})


@pytest.mark.parametrize("make", [_pixels, _layer])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": "ant.png"}, "inputs must be a tensor or a tuple of tensors, not str"),
        ({"inputs": TRAIN.numpy()}, "inputs must be a tensor or a tuple of tensors, not ndarray"),
        ({"additional_forward_args": "bee.png"}, "test input must be a tensor.*not str"),
        ({"target": "ant"}, r"training label \(target\) is a str; give a tensor of labels, a num"),
        (
            {"additional_forward_args": (TEST, "bee")},
            "test label is a str; give a tensor of labels, a number or a list of numbers",
        ),
        ({"target": torch.eye(3)[:2]}, "cross-entropy takes integer class numbers"),
    ],
)
def test_wrong_types_are_refused_with_a_remedy(
    make: Any, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        make().attribute(**{"inputs": TRAIN, "additional_forward_args": TEST, **arguments})


@pytest.mark.parametrize("size", [1.5, "2"])
def test_internal_batch_size_that_is_no_whole_number_is_named_in_the_error(size: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="internal_batch_size"):
        _pixels().attribute(TRAIN, 1, TEST, internal_batch_size=size)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_pixels_that_have_no_gradient_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"{dtype}, which has no gradient; give floating point"):
        _pixels().attribute((TRAIN > 0).to(dtype), 1, TEST)


def test_labels_given_to_a_loss_without_predictions_are_asked_for() -> None:
    tfa = TrainingGradCos(small_net(), nn.MSELoss(reduction="none"))
    with pytest.raises(ValueError, match=r"No label was given.*Pass test_target"):
        tfa.attribute(TRAIN, drawn(2, 3, 3), TEST)
    with pytest.raises(ValueError, match=r"No label was given.*train_target"):
        tfa.attribute(TRAIN, None, (TEST, drawn(1, 3, 3)))


def test_model_in_training_mode_is_refused() -> None:
    model = small_net()
    tfa: TrainingGradient = TrainingGradCos(model)
    model.train()
    with pytest.raises(ValueError, match=r"norm: BatchNorm in training mode.*model\.eval\(\)"):
        tfa.attribute(TRAIN, 1, TEST)
    assert model.training


def test_images_that_are_not_finite_are_refused() -> None:
    train = TRAIN.clone()
    train[1, 0, 2, 2] = torch.nan
    with pytest.raises(RuntimeError, match="1 of 2 training examples have a parameter gradient"):
        _pixels().attribute(train, 1, TEST, internal_batch_size=2)


def test_rows_that_are_all_the_same_count_as_one() -> None:
    """Captum repeats them for its samples and steps, not knowing whose they are."""
    score = GradCosScore(small_net())
    rows = rows_of(score, pictures(6, 1), torch.tensor([2, 2]), (TEST.repeat(4, 1, 1, 1), [1, 1]))
    assert len(rows) == 6
    assert torch.equal(rows.test[0], TEST.expand(6, -1, -1, -1))
    assert rows.test_target is not None
    assert rows.test_target.tolist() == [1] * 6
    assert rows.train_target is not None
    assert rows.train_target.tolist() == [2] * 6


@settings(deadline=None, max_examples=30)
@given(batch=st.integers(1, 9), size=st.none() | st.integers(1, 11), labelled=st.booleans())
def test_chunks_are_the_rows_in_order(batch: int, size: int | None, labelled: bool) -> None:
    score = GradCosScore(made(PictureAndNumbers()))
    train = drawn(batch, 1, 1, 4, 4), drawn(batch, 2, 3)
    test = drawn(batch, 3, 1, 4, 4), drawn(batch, 4, 3)
    labels = torch.arange(batch) % 3
    rows = rows_of(score, train, labels if labelled else None, (test, labels))
    chunks = list(row_chunks(score, rows, size))
    lengths = [len(chunk) for chunk in chunks]
    if size is None:
        assert lengths == [batch]
    else:
        assert lengths[:-1] == [size] * (len(lengths) - 1)
    for position in range(2):
        assert torch.equal(torch.cat([chunk.train[position] for chunk in chunks]), train[position])
        assert torch.equal(torch.cat([chunk.test[position] for chunk in chunks]), test[position])
    assert torch.equal(_joined([chunk.test_target for chunk in chunks]), labels)
    if labelled:
        assert torch.equal(_joined([chunk.train_target for chunk in chunks]), labels)
    else:
        assert all(chunk.train_target is None for chunk in chunks)


def _joined(parts: list[Tensor | None]) -> Tensor:
    return torch.cat([part for part in parts if part is not None])


def test_contents_of_test_images_are_compared_once_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def counting(columns: Any) -> Any:
        compared.append(len(columns[0]))
        return distinct(columns)

    monkeypatch.setattr(distinct_tests, "distinct", counting)
    tfa = _pixels()
    tfa.attribute(pictures(6, 1), 1, pictures(6, 2), internal_batch_size=2)
    assert compared == [6]
    TrainingIntegratedGradients(tfa.forward_func).attribute(
        TRAIN, None, 1, pictures(2, 2), n_steps=4, internal_batch_size=3
    )
    assert compared == [6, 2]


def test_each_test_gradient_is_computed_once_although_chunks_are_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    computed: list[int] = []
    of_tests = GradientEngine.of_tests

    def counting(engine: GradientEngine, inputs: Any, target: Any) -> Any:
        computed.append(len(inputs[0]))
        return of_tests(engine, inputs, target)

    monkeypatch.setattr(GradientEngine, "of_tests", counting)
    two = pictures(2, 2).repeat_interleave(3, 0)
    maps = _pixels().attribute(pictures(6, 1), 1, two, internal_batch_size=2)
    assert computed == [1, 1]
    assert isinstance(maps, Tensor)
    one_by_one = [_pixels().attribute(pictures(6, 1)[[row]], 1, two[[row]]) for row in range(6)]
    torch.testing.assert_close(maps, torch.cat(one_by_one))

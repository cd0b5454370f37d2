"""Baselines take every form that Captum's take, and no other."""

from __future__ import annotations

import pytest
import torch

from captum_tfa.attr.baselines import Baselines, like_inputs

PICTURES = torch.randn(3, 2, 4, 4, dtype=torch.float64)
NUMBERS = torch.arange(6).reshape(3, 2)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, torch.zeros_like(PICTURES)),
        (0.5, torch.full_like(PICTURES, 0.5)),
        (PICTURES[:1].float(), PICTURES[:1].float().double().expand_as(PICTURES)),
        (PICTURES + 1, PICTURES + 1),
        ((1,), torch.ones_like(PICTURES)),
    ],
    ids=["nothing", "a number", "one row", "as many rows", "a tuple"],
)
def test_every_form_becomes_a_tensor_like_its_input(given: Baselines, expected: object) -> None:
    (found,) = like_inputs(given, [PICTURES])
    assert found.dtype == PICTURES.dtype
    assert torch.equal(found, torch.as_tensor(expected))


def test_each_of_several_inputs_has_its_own() -> None:
    pictures, numbers = like_inputs((0.5, None), [PICTURES, NUMBERS])
    assert torch.equal(pictures, torch.full_like(PICTURES, 0.5))
    assert torch.equal(numbers, torch.zeros_like(NUMBERS))


@pytest.mark.parametrize("given", [0.25, None])
def test_one_number_serves_all_inputs(given: float | None) -> None:
    for found, tensor in zip(
        like_inputs(given, [PICTURES, -PICTURES]), [PICTURES, -PICTURES], strict=True
    ):
        assert torch.equal(found, torch.full_like(tensor, given or 0.0))


def test_baselines_are_constants() -> None:
    start = PICTURES[:1].clone().requires_grad_()
    assert not like_inputs(start, [PICTURES])[0].requires_grad


@pytest.mark.parametrize(
    ("given", "inputs", "message"),
    [
        (PICTURES[:2], [PICTURES], "shape"),
        (PICTURES[:1, :1], [PICTURES], "shape"),
        (PICTURES[0], [PICTURES], "shape"),
        ((0, 0), [PICTURES], "holds 2, and the model takes 1"),
        (PICTURES[:1], [PICTURES, NUMBERS], "holds 1, and the model takes 2"),
    ],
    ids=["two rows for three", "other channels", "no batch", "too many", "too few"],
)
def test_what_fits_no_input_is_refused(
    given: Baselines, inputs: list[torch.Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        like_inputs(given, inputs)


def test_a_word_is_no_baseline() -> None:
    with pytest.raises(TypeError, match="a str; give a number or a tensor"):
        like_inputs(("grey",), [PICTURES])  # type: ignore[arg-type]

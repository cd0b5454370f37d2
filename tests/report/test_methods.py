from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import (
    Attribution,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor

from captum_tfa import GradCosScore, GradDotScore, TrainingGradient, TrainingGradientXInput
from captum_tfa.report import explain
from captum_tfa.report.methods import DEFAULT, METHODS, OF_LAYER, choose, choose_all
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model

COLOUR = TinyPictures().tensors[0].mean(dim=(0, 2, 3))  # of the twelve pictures, all that there are
BASELINE = COLOUR.view(1, 3, 1, 1).expand(1, 3, 8, 8)


class Side:
    """One end of the first proponent's influence: its map, and what Captum needs to draw it."""

    def __init__(self, of_test: bool, **changes: Any) -> None:
        given: dict[str, Any] = {
            "nt_samples": 4,
            "noise_level": 0.0,
            "k": 1,
            "score": "grad-cos",
            **changes,
        }
        explanation = explain(tiny_model(), TinyPictures(), puzzling_picture(), 1, **given)
        example = explanation.proponents[0]
        picture, label = TinyPictures()[example.index]
        train, test = (picture[None], label[None]), (puzzling_picture()[None], torch.tensor([1]))
        self.image, self.label = test if of_test else train
        self.other: tuple[Tensor, Tensor] = train if of_test else test
        self.map = (example.test_map if of_test else example.map)[None]
        self.score = GradCosScore(tiny_model())
        self.arguments = {"additional_forward_args": (*self.other, self.label)}


both_sides = pytest.mark.parametrize("of_test", [False, True], ids=["train", "test"])


@both_sides
def test_gradient_is_captums_saliency_with_its_sign(of_test: bool) -> None:
    side = Side(of_test, method="gradient")
    expected = Saliency(side.score).attribute(side.image, abs=False, **side.arguments)
    assert torch.allclose(side.map, expected, atol=1e-7)


@both_sides
def test_gradient_x_input_counts_the_input_from_the_mean_colour(of_test: bool) -> None:
    side = Side(of_test, method="gradient_x_input")

    def of_change(change: Tensor, *others: Tensor) -> Tensor:
        found: Tensor = side.score(change + BASELINE, *others)
        return found

    expected = InputXGradient(of_change).attribute(side.image - BASELINE, **side.arguments)
    assert torch.allclose(side.map, expected, atol=1e-7)


@both_sides
def test_integrated_gradients_are_captums(of_test: bool) -> None:
    side = Side(of_test, method="integrated_gradients")
    expected = IntegratedGradients(side.score).attribute(
        side.image, baselines=BASELINE, n_steps=4, method="riemann_middle", **side.arguments
    )
    assert torch.allclose(side.map, expected, atol=1e-6)


@both_sides
def test_with_norms_held_they_are_captums_of_the_inner_product(of_test: bool) -> None:
    side = Side(of_test, method="integrated_gradients_norm_held")
    product = GradDotScore(tiny_model())
    with torch.no_grad():
        value, inner = (
            score(side.image, *side.other, side.label) for score in (side.score, product)
        )
    expected = IntegratedGradients(product).attribute(
        side.image, baselines=BASELINE, n_steps=4, method="riemann_middle", **side.arguments
    )
    assert torch.allclose(side.map, value / inner * expected, atol=1e-6)


def test_integrated_gradients_of_a_smooth_model_sum_to_the_change_of_the_score() -> None:
    side = Side(False, method="integrated_gradients", nt_samples=200)
    with torch.no_grad():
        end, start = (side.score(x, *side.other, side.label) for x in (side.image, BASELINE))
    assert float(side.map.sum()) == pytest.approx(float(end - start), abs=1e-3)


@both_sides
def test_occlusion_is_captums_with_windows_a_quarter_wide_that_overlap_by_half(
    of_test: bool,
) -> None:
    side = Side(of_test, method="occlusion")
    expected = Occlusion(side.score).attribute(
        side.image, (3, 2, 2), strides=(3, 1, 1), baselines=BASELINE, **side.arguments
    )
    assert torch.allclose(side.map, expected, atol=1e-6)


@both_sides
@pytest.mark.parametrize(
    ("name", "method", "arguments"),
    [
        ("gradient", TrainingGradient, {}),
        ("gradient_x_input", TrainingGradientXInput, {"baselines": BASELINE}),
    ],
)
def test_noise_is_captums_noise_tunnel(
    name: str, method: type[Attribution], arguments: dict[str, Any], of_test: bool
) -> None:
    side = Side(of_test, method=name, noise_level=0.1, seed=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        expected = NoiseTunnel(method(side.score)).attribute(
            side.image,
            nt_type="smoothgrad",
            nt_samples=4,
            stdevs=0.1 * float(side.image.max() - side.image.min()),
            target=side.label,
            additional_forward_args=side.other,
            **arguments,
        )
    assert torch.allclose(side.map, expected, atol=1e-6)


@both_sides
@pytest.mark.parametrize(
    "name", ["integrated_gradients", "integrated_gradients_norm_held", "occlusion"]
)
def test_maps_that_compare_with_an_empty_image_take_no_noise(name: str, of_test: bool) -> None:
    plain = Side(of_test, method=name)
    assert torch.equal(plain.map, Side(of_test, method=name, noise_level=0.3).map)


@pytest.mark.parametrize("name", METHODS)
def test_maps_depend_on_neither_k_nor_batch_sizes(name: str) -> None:
    first = Side(True, method=name, noise_level=0.1)
    again = Side(True, method=name, noise_level=0.1, k=4, batch_size=5, internal_batch_size=1)
    assert torch.allclose(first.map, again.map, atol=1e-6)


def test_heat_of_a_signed_map_is_the_part_with_the_scores_own_sign() -> None:
    map = torch.tensor([[[3.0, -1.0, -1.0]], [[-1.0, -1.0, 1.0]]])
    for name in set(METHODS) - {"gradient"}:
        assert METHODS[name].heat(map, 0.5).tolist() == [[2.0, 0.0, 0.0]]
        assert METHODS[name].heat(map, -0.5).tolist() == [[0.0, 2.0, 0.0]]
    for method in (METHODS["gradient"], OF_LAYER):
        assert (
            method.heat(map, 0.5).tolist() == method.heat(map, -0.5).tolist() == [[4.0, 2.0, 2.0]]
        )


def test_none_is_the_default_and_a_layer_has_its_gradient() -> None:
    assert choose(None, of_layer=False) is METHODS[DEFAULT]
    assert choose(None, of_layer=True) is choose("gradient", of_layer=True) is OF_LAYER


@pytest.mark.parametrize("names", [[], ["gradient", "gradient"]])
def test_several_methods_are_at_least_one_and_all_different(names: list[str]) -> None:
    with pytest.raises(ValueError, match="several different ones of gradient, "):
        choose_all(names, of_layer=False)


def test_each_of_several_methods_must_be_known() -> None:
    with pytest.raises(ValueError, match="method is 'magic'"):
        choose_all(["gradient", "magic"], of_layer=False)
    with pytest.raises(ValueError, match="layer is given"):
        choose_all(["gradient", "occlusion"], of_layer=True)


def test_one_name_or_none_is_one_method() -> None:
    assert choose_all("gradient", of_layer=False) == (METHODS["gradient"],)
    assert choose_all(None, of_layer=False) == (METHODS[DEFAULT],)

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import captum_tfa
from captum_tfa.curvature import fit_curvature
from tests.curvature.slow import CNN, MLP, dataset, inverse
from tests.oracle import EXACT, relative_error


def test_it_is_found_in_the_package() -> None:
    assert captum_tfa.curvature.fit_curvature is fit_curvature


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"kind": "k-fac"}, ValueError, "kind is 'k-fac'; it must be one of hessian, ggn"),
        ({"kind": ["ekfac"]}, ValueError, r"kind is \[.ekfac.\]; it must be one of"),
        ({"damping": float("inf")}, ValueError, "damping is inf; it must be a finite number"),
        ({"tolerance": "small"}, ValueError, "tolerance is .small.; it must be above 0"),
        ({"labels": "drawn"}, ValueError, "must be 'sampled' or 'true'"),
        ({"damping": -0.1}, ValueError, "damping is -0.1; it must be a finite number"),
        ({"damping": "0.1"}, TypeError, "damping is a str"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": 0.5}, TypeError, "seed is a float"),
        ({"max_examples": 0}, ValueError, "max_examples is 0; it must be at least 1"),
        ({"max_examples": 2.5}, TypeError, "max_examples is a float"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"tolerance": 0}, ValueError, "tolerance is 0"),
        ({"iterations": 0}, ValueError, "iterations is 0"),
        ({"parameters": ["head"]}, ValueError, "no parameter or module named 'head'"),
        ({"loss_fn": nn.CrossEntropyLoss()}, ValueError, "must keep one loss an example"),
    ],
)
def test_wrong_arguments_are_refused(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fit_curvature(MLP.model(), dataset(MLP, 3), **options)


def test_wrong_data_are_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(dataset(MLP, 3))

    model = MLP.model()
    images = dataset(MLP, 3).tensors[0]
    for data, error, words in (
        (Stream(), TypeError, "asked for by their index"),
        (3, TypeError, "train_dataset is a int"),
        (TensorDataset(images[:0], torch.zeros(0).long()), ValueError, "is empty"),
        (TensorDataset(images), TypeError, "must give pairs"),
    ):
        with pytest.raises(error, match=words):
            fit_curvature(model, data)


def test_models_without_gradients_of_single_examples_are_refused() -> None:
    with pytest.raises(ValueError, match=r"BatchNorm in training mode.*call model\.eval"):
        fit_curvature(CNN.model().train(), dataset(CNN, 3))
    with pytest.raises(TypeError, match="model is a str"):
        fit_curvature("resnet18", dataset(CNN, 3))


def test_loaders_give_what_their_data_set_gives() -> None:
    model, data = MLP.model(), dataset(MLP, 9)
    right = inverse(fit_curvature(model, data), model)
    loader = DataLoader(data, batch_size=4, shuffle=True)
    assert relative_error(inverse(fit_curvature(model, loader), model), right) < EXACT


def test_some_examples_are_drawn_without_repetition() -> None:
    model, data = MLP.model(), dataset(MLP, 9)
    curvature = fit_curvature(model, data, max_examples=4, seed=3)
    assert curvature.fingerprint.data.startswith("4 of 9 examples")
    whole = fit_curvature(model, data, max_examples=20)
    assert whole.fingerprint.data.startswith("9 of 9 examples")
    parts = [
        fit_curvature(model, data, kind="diagonal", labels="true", max_examples=8, seed=seed)
        for seed in (0, 1, 0)
    ]
    assert parts[0].absolute_damping == parts[2].absolute_damping != parts[1].absolute_damping


def test_chosen_parameters_are_named() -> None:
    model, data = CNN.model(), dataset(CNN, 4)
    curvature = fit_curvature(model, data, parameters=[model[4]])
    assert curvature.names == ("4.weight", "4.bias")
    assert curvature.fingerprint.count == 6 * 2 * 9 + 6


def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    fit_curvature(MLP.model(), dataset(MLP, 4), show_progress=True)
    assert "ekfac: eigenvalues" in capsys.readouterr().err
    fit_curvature(MLP.model(), dataset(MLP, 4))
    assert capsys.readouterr().err == ""


def test_a_call_in_inference_mode_is_like_any_other() -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    with torch.inference_mode():
        curvature = fit_curvature(model, data)
    right = inverse(fit_curvature(model, data), model)
    assert relative_error(inverse(curvature, model), right) < EXACT

"""Influence in the projected space is the formula with an explicit inverse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    GradientIndex,
    InfluenceByGroup,
    InfluenceScore,
    ParameterWeights,
    ProjectedInfluence,
)
from captum_tfa.curvature import fit_curvature
from captum_tfa.index import kept, second_moment
from tests.influence.projected_slowly import (
    COUNT,
    DATA,
    DIMENSION,
    IMAGES,
    LABELS,
    built,
    by_layer,
    matrix,
    slow_features,
    slow_gradients,
)
from tests.influence.tiny_sets import TEST_LABELS, TESTS, linear_and_conv


@pytest.mark.parametrize("damping", [0.0, 0.1, 10.0])
def test_scores_equal_the_formula_with_an_explicit_inverse(damping: float, tmp_path: Path) -> None:
    model = linear_and_conv()
    score = GradDotScore(model)
    influence = ProjectedInfluence(score, built(score, tmp_path), damping)
    train, tests = slow_features(model, IMAGES, LABELS), slow_features(model, TESTS, TEST_LABELS)
    damped = _damped(train, damping)
    expected = tests @ damped.inverse() @ train.T
    found = influence.influence((TESTS, TEST_LABELS))
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    best = influence.influence((TESTS, TEST_LABELS), 5, proponents=False)
    assert torch.equal(best.indices, expected.argsort(dim=1, stable=True)[:, :5])
    own = (train @ damped.inverse() * train).sum(1)
    torch.testing.assert_close(influence.self_influence().double(), own, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("k", [None, 4])
def test_contributions_of_layers_are_those_of_their_projected_parts(
    k: int | None, tmp_path: Path
) -> None:
    model = linear_and_conv()
    score = GradDotScore(model)
    influence = ProjectedInfluence(score, built(score, tmp_path), 0.1)
    found = influence.influence((TESTS, TEST_LABELS), k, by_group="layer")
    assert isinstance(found, InfluenceByGroup)
    train = slow_features(model, IMAGES, LABELS)
    solved = (_damped(train, 0.1).inverse() @ train.T).double()
    tests = slow_gradients(model, TESTS, TEST_LABELS)
    layers = by_layer(model)
    assert found.groups == tuple(layers)
    parts = [(tests * here) @ matrix(model) @ solved for here in layers.values()]
    expected = torch.stack(parts, -1)
    rows = torch.arange(len(TESTS))[:, None]
    close = {"rtol": 1e-4, "atol": 1e-5 * float(expected.abs().max())}
    expected = expected[rows, found.indices]
    torch.testing.assert_close(found.contributions.double(), expected, **close)
    assert torch.equal(found.parts, found.contributions)
    torch.testing.assert_close(found.contributions.sum(-1), found.influence_scores, **close)
    if k is not None:
        plain = influence.influence((TESTS, TEST_LABELS), k)
        assert torch.equal(found.indices, plain.indices)
        torch.testing.assert_close(found.influence_scores, plain.influence_scores, **close)


def test_weights_act_on_the_test_gradient_before_it_is_projected(tmp_path: Path) -> None:
    model = linear_and_conv()
    score = GradDotScore(model)
    index = built(score, tmp_path)
    names = {layer: (f"{layer}.weight", f"{layer}.bias") for layer in by_layer(model)}
    weights = ParameterWeights(names, (0.5, 0.0, 0.2, 0.3))
    influence = ProjectedInfluence(score.weighted(weights), index, 0.1)
    train = slow_features(model, IMAGES, LABELS)
    scale = sum(
        weight * here.double()
        for weight, here in zip(weights.weights, by_layer(model).values(), strict=True)
    )
    tests = (slow_gradients(model, TESTS, TEST_LABELS) * scale) @ matrix(model)
    expected = tests @ _damped(train, 0.1).inverse() @ train.T
    found = influence.influence((TESTS, TEST_LABELS))
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    by_group = influence.influence((TESTS, TEST_LABELS), by_group="layer")
    assert not by_group.contributions[..., 1].any()  # the layer of weight 0
    assert influence.name == "weighted projected influence"


def _damped(train: Tensor, damping: float) -> Tensor:
    moment = train.T @ train / COUNT
    return moment + damping * moment.trace() / DIMENSION * torch.eye(DIMENSION)


def test_the_second_moment_is_kept_and_not_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = GradDotScore(linear_and_conv())
    index = built(score, tmp_path)
    first = second_moment.second_moment(index)
    with monkeypatch.context() as patched:
        patched.setattr(GradientIndex, "chunks", lambda *_: iter(()))
        assert torch.equal(second_moment.second_moment(index), first)
    more = TensorDataset(torch.cat([IMAGES, TESTS]), torch.cat([LABELS, TEST_LABELS]))
    grown = GradientIndex.build(
        score, more, tmp_path, DIMENSION, precision="float32", shard_size=25
    )
    assert not torch.allclose(second_moment.second_moment(grown), first)


def test_the_second_moment_needs_no_folder_that_can_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = built(GradDotScore(linear_and_conv()), tmp_path)
    expected = second_moment.second_moment(index)
    (tmp_path / "second_moment.safetensors").unlink()

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(kept, "save_file", refuse)
    assert torch.equal(second_moment.second_moment(index), expected)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    model = linear_and_conv()
    plain = GradDotScore(model)
    index = built(plain, tmp_path / "plain")
    curved = InfluenceScore(model, fit_curvature(model, DATA, "diagonal"))
    names = [name for name, _ in model.named_parameters()]
    weights = ParameterWeights({"all": tuple(names)}, (1.0,))
    for given in (curved, curved.weighted(weights)):
        with pytest.raises(TypeError, match="InfluenceScore has a curvature of its own"):
            ProjectedInfluence(given, index)
    with pytest.raises(ValueError, match="leaves out"):
        ProjectedInfluence(plain, index).influence(TESTS, by_group=["out"])
    with pytest.raises(TypeError, match="index is a str"):
        ProjectedInfluence(plain, str(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="score is a Linear"):
        ProjectedInfluence(nn.Linear(1, 1), index)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="damping is -1"):
        ProjectedInfluence(plain, index, -1)
    with pytest.raises(ValueError, match="k is 0"):
        ProjectedInfluence(plain, index).influence(TESTS, 0)
    few = TensorDataset(IMAGES[:5], LABELS[:5])
    small = GradientIndex.build(plain, few, tmp_path / "few", DIMENSION, precision="float32")
    with pytest.raises(ValueError, match="Give a larger damping"):
        ProjectedInfluence(plain, small, 0)
    assert ProjectedInfluence(GradCosScore(model), small).influence(TESTS).shape == (4, 5)

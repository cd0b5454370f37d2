"""Influence under a metric: against dense linear algebra on the gradients of single examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    GradDotScore,
    InfluenceScore,
    LayerTrainingGradient,
    ScoreInfluence,
    TrainingGradient,
)
from captum_tfa.curvature import fit_curvature
from tests.oracle import EXACT, SlowScore, relative_error

LABELS, TEST_LABELS = torch.tensor([0, 2, 1, 1]), torch.tensor([1, 0])


def _net() -> nn.Sequential:
    return (
        nn.Sequential(
            nn.Conv2d(1, 2, 2), nn.GroupNorm(1, 2), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3)
        )
        .double()
        .eval()
    )


class Metric:
    """A dense positive definite matrix in the place of a fitted curvature."""

    def __init__(self, model: nn.Module, damping: float = 0.1) -> None:
        self.shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
        count = sum(shape.numel() for shape in self.shapes.values())
        root = torch.randn(count, count).double()
        self.matrix = (root @ root.T / count + damping * torch.eye(count).double()).inverse()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shapes)

    def solve(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        some = next(iter(vectors.values()))
        flat = torch.cat(
            [
                vectors[name].flatten(1)
                if name in vectors
                else some.new_zeros(len(some), shape.numel())
                for name, shape in self.shapes.items()
            ],
            1,
        )
        parts = (flat @ self.matrix).split([shape.numel() for shape in self.shapes.values()], 1)
        return {
            name: part.reshape(len(some), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }


DIVISORS: dict[str | None, Callable[[Tensor, Tensor, Tensor], Any]] = {
    None: lambda g, u, inverse: 1,
    "cos": lambda g, u, inverse: g.norm() * u.norm(),
    "theta": lambda g, u, inverse: (g @ inverse).norm(),
    "ell": lambda g, u, inverse: (g @ inverse @ g).sqrt(),
}


def slow_influence(model: nn.Module, metric: Metric, normalise: str | None) -> SlowScore:
    """The same score, one example at a time by plain double backward."""
    inverse, divisor = metric.matrix, DIVISORS[normalise]
    return SlowScore(
        model,
        formula=lambda g, test: g @ (test @ inverse) / divisor(g, test @ inverse, inverse),
    )


def _images(count: int) -> Tensor:
    return torch.randn(count, 1, 4, 4).double()


KINDS = pytest.mark.parametrize("normalise", [None, "cos", "theta", "ell"])


@KINDS
def test_scores_maps_and_rankings_equal_the_oracle(normalise: str | None) -> None:
    model = _net()
    metric, train, test = Metric(model), _images(4), _images(2)
    score, slow = InfluenceScore(model, metric, normalise), slow_influence(model, metric, normalise)
    for query in range(2):
        leaf = train.clone().requires_grad_()
        expected = slow(leaf, test[[query]], TEST_LABELS[query], LABELS)
        (right,) = torch.autograd.grad(expected.sum(), leaf)
        given = score(train, test[[query]], TEST_LABELS[query], LABELS)
        assert relative_error(given.detach(), expected.detach()) < EXACT
        for size in (None, 1, 3):
            maps = TrainingGradient(score).attribute(
                train, LABELS, (test[[query]], TEST_LABELS[[query]]), internal_batch_size=size
            )
            assert relative_error(maps, right) < EXACT
        with torch.no_grad():
            without_graph = score(train, test[[query]], TEST_LABELS[query], LABELS)
        assert relative_error(without_graph, expected.detach()) < EXACT
    pairs = list(zip(train, LABELS.tolist(), strict=True))
    for batch_size in (1, 3):
        influence = ScoreInfluence(score, pairs, batch_size)
        ranking = influence.influence((test, TEST_LABELS))
        for query in range(2):
            expected = slow(train, test[[query]], TEST_LABELS[query], LABELS).detach()
            assert relative_error(ranking[query], expected) < EXACT
        itself = torch.cat(
            [slow(train[[row]], train[[row]], LABELS[row], LABELS[[row]]) for row in range(4)]
        )
        assert relative_error(influence.self_influence(), itself.detach()) < EXACT


@KINDS
def test_several_tests_of_one_image_and_layers(normalise: str | None) -> None:
    model = _net()
    metric, train, test = Metric(model), _images(1), _images(2)
    score = InfluenceScore(model, metric, normalise)
    together = TrainingGradient(score).attribute(train, 1, (test, TEST_LABELS))
    at_layer = LayerTrainingGradient(score, model[2])
    for query in range(2):
        side = (test[[query]], TEST_LABELS[[query]])
        alone = TrainingGradient(score).attribute(train, 1, side)
        assert relative_error(together[[query]], alone) < EXACT
        maps = at_layer.attribute(train, 1, side)
        moved = 1e-6 * torch.randn_like(maps)
        values = []
        for sign in (1, -1):
            hook = model[2].register_forward_hook(lambda _, given, out, s=sign * moved: out + s)
            values.append(score(train, *side, torch.tensor([1])).detach())
            hook.remove()
        expected = (values[0] - values[1]) / 2
        torch.testing.assert_close((maps * moved).sum().reshape(1), expected, rtol=1e-5, atol=1e-13)


def test_as_damping_grows_rankings_tend_to_those_without_curvature() -> None:
    model = _net()
    train, test = _images(4), _images(1)
    damped = Metric(model, damping=1e9)
    for normalise, plain in ((None, GradDotScore(model)), ("cos", GradCosScore(model))):
        given = InfluenceScore(model, damped, normalise)(train, test, 1, LABELS).detach()
        expected = plain(train, test, 1, LABELS).detach()
        scale = 1e9 if normalise is None else 1.0
        assert relative_error(given * scale, expected) < 1e-6
    cosine = GradCosScore(model)(train, test, 1, LABELS).detach()
    for normalise in ("theta", "ell"):
        given = InfluenceScore(model, damped, normalise)(train, test, 1, LABELS).detach()
        assert torch.equal(given.argsort(), cosine.argsort())


def test_ell_over_the_tests_own_norm_is_symmetric() -> None:
    model = _net()
    metric, one, other = Metric(model), _images(1), _images(1)
    ell = InfluenceScore(model, metric, "ell")
    slow = slow_influence(model, metric, None)

    def own(image: Tensor, label: int) -> Tensor:
        return slow(image, image, label, torch.tensor([label])).sqrt().detach()

    forth = ell(one, other, 0, 2).detach() / own(other, 0)
    back = ell(other, one, 2, 0).detach() / own(one, 2)
    assert relative_error(forth, back) < EXACT


def test_the_identity_gives_back_grad_dot_and_grad_cos() -> None:
    model = _net()
    metric = Metric(model)
    metric.matrix = torch.eye(len(metric.matrix)).double()
    train, test = _images(4), _images(1)
    for normalise, plain in ((None, GradDotScore), ("cos", GradCosScore)):
        given = InfluenceScore(model, metric, normalise)(train, test, 1, LABELS)
        assert relative_error(given, plain(model)(train, test, 1, LABELS)) < EXACT


def test_only_the_parameters_of_the_curvature_count() -> None:
    model = _net()

    class Last(Metric):
        def __init__(self) -> None:
            super().__init__(nn.ModuleDict({"4": model[4]}))

    last = Last()
    train, test = _images(4), _images(1)
    given = InfluenceScore(model, last, None)(train, test, 1, LABELS)
    slow = SlowScore(model, parameters=lambda name: name.startswith("4."))

    def flat(image: Tensor, label: int) -> Tensor:
        parts = slow.gradient((image,), torch.tensor([label]))
        return torch.cat([part.flatten() for part in parts])

    u = flat(test, 1) @ last.matrix
    expected = torch.stack([flat(train[[row]], int(LABELS[row])) @ u for row in range(4)])
    assert relative_error(given, expected) < EXACT


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"curvature": torch.eye(3)}, TypeError, r"curvature is a Tensor; give what fit_curvature"),
        ({"normalise": "l2"}, ValueError, r"normalise is 'l2'; .* None, 'cos', 'theta', 'ell'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, kind: type[Exception], message: str) -> None:
    model = _net()
    with pytest.raises(kind, match=message):
        InfluenceScore(**{"model": model, "curvature": Metric(model), **arguments})


@pytest.mark.parametrize("kind", ["ekfac", "kfac", "diagonal", "fisher"])
@KINDS
def test_fitted_curvatures_stand_between_the_gradients(kind: Any, normalise: str | None) -> None:
    model, images = _net(), _images(20)
    pairs = list(zip(images, (torch.arange(20) % 3).tolist(), strict=True))
    curvature = fit_curvature(model, pairs, kind)  # type: ignore[arg-type]
    metric = Metric(model)
    count = len(metric.matrix)
    parts = torch.eye(count).double().split([s.numel() for s in metric.shapes.values()], 1)
    unit = {
        name: part.reshape(count, *shape)
        for (name, shape), part in zip(metric.shapes.items(), parts, strict=True)
    }
    metric.matrix = torch.cat([part.flatten(1) for part in curvature.solve(unit).values()], 1)
    score, slow = (
        InfluenceScore(model, curvature, normalise),
        slow_influence(model, metric, normalise),
    )
    train, test = _images(4), _images(1)
    leaf = train.clone().requires_grad_()
    expected = slow(leaf, test, 1, LABELS)
    (right,) = torch.autograd.grad(expected.sum(), leaf)
    assert relative_error(score(train, test, 1, LABELS), expected) < 1e-7
    assert relative_error(TrainingGradient(score).attribute(train, LABELS, (test, 1)), right) < 1e-7


@pytest.mark.parametrize("kind", ["ekfac", "kfac", "diagonal", "fisher", "ggn", "cg"])
def test_as_the_damping_of_a_fitted_curvature_grows_scores_tend_to_those_without(kind: Any) -> None:
    model, images = _net(), _images(12)
    pairs = list(zip(images, (torch.arange(12) % 3).tolist(), strict=True))
    curvature = fit_curvature(model, pairs, kind)  # type: ignore[arg-type]
    train, test = _images(4), _images(1)
    right = [
        plain(model)(train, test, 1, LABELS).detach() for plain in (GradDotScore, GradCosScore)
    ]
    errors = []
    for damping in (1.0, 1e3, 1e7):
        damped = curvature.with_damping(damping)
        dot, cos, theta, ell = (
            InfluenceScore(model, damped, normalise)(train, test, 1, LABELS).detach()
            for normalise in (None, "cos", "theta", "ell")
        )
        errors.append([relative_error(dot * damped.absolute_damping, right[0])])
        errors[-1].append(relative_error(cos, right[1]))
    for one, other in pairwise(errors):
        assert all(later < earlier for earlier, later in zip(one, other, strict=True))
    assert max(errors[-1]) < 1e-3
    for ranked in (theta, ell):
        assert torch.equal(ranked.argsort(), right[1].argsort())


@pytest.mark.parametrize("kind", ["ekfac", "kfac", "diagonal", "fisher"])
def test_ell_over_the_tests_own_norm_is_symmetric_under_a_fitted_curvature(kind: Any) -> None:
    model, images = _net(), _images(12)
    pairs = list(zip(images, (torch.arange(12) % 3).tolist(), strict=True))
    curvature = fit_curvature(model, pairs, kind)  # type: ignore[arg-type]
    one, other = _images(1), _images(1)
    ell = InfluenceScore(model, curvature, "ell")

    def forth(train: Tensor, label: int, test: Tensor, test_label: int) -> Tensor:
        # Of an image with itself, ell is the norm that divides.
        own = ell(test, test, test_label, torch.tensor([test_label]))
        return (ell(train, test, test_label, torch.tensor([label])) / own).detach()

    assert relative_error(forth(one, 2, other, 0), forth(other, 0, one, 2)) < 1e-7


def test_a_curvature_of_other_weights_is_refused() -> None:
    model = _net()
    curvature = fit_curvature(model, [(image, 0) for image in _images(3)], "diagonal")  # type: ignore[arg-type]
    with torch.no_grad():
        model[4].weight.add_(0.1)
    with pytest.raises(ValueError, match="model"):
        InfluenceScore(model, curvature)

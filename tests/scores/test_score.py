"""What holds for every score, whatever its formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from captum_tfa.scores import Score
from tests.oracle import (
    EXACT,
    SlowScore,
    assert_exact,
    dot,
    relative_error,
    scores_and_maps,
    slow_map,
    small_cnn,
)
from tests.scores.both_scores import both_scores, small_images, small_model


def _map(score: Score, train: Tensor, *rest: object) -> Tensor:
    train = train.detach().clone().requires_grad_()
    return torch.autograd.grad(score(train, *rest).sum(), train)[0]


# Symmetry and scale


@both_scores
def test_training_and_test_example_may_change_places(kind: type[Score]) -> None:
    score, one, other = kind(small_model()), small_images(3), small_images(3, seed=2)
    labels, others = torch.tensor([0, 1, 2]), torch.tensor([3, 0, 4])
    torch.testing.assert_close(
        score(one, other, others, labels), score(other, one, labels, others), rtol=1e-12, atol=0
    )


@both_scores
def test_permuting_the_batch_permutes_scores_and_maps(kind: type[Score]) -> None:
    score, train, test = kind(small_model()), small_images(4), small_images(4, seed=2)
    labels, test_labels = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 2, 0, 1])
    order = torch.tensor([2, 0, 3, 1])
    scores, (maps,) = scores_and_maps(score, train, test, test_labels, labels)
    permuted, (permuted_maps,) = scores_and_maps(
        score, train[order], test[order], test_labels[order], labels[order]
    )
    assert relative_error(permuted, scores[order]) < 1e-12
    assert relative_error(permuted_maps, maps[order]) < 1e-12


@both_scores
@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_size_changes_nothing(kind: type[Score], size: int) -> None:
    score, train, test = kind(small_model()), small_images(4), small_images(4, seed=2)
    labels = torch.tensor([0, 1, 2, 3])
    scores, (maps,) = scores_and_maps(score, train, test, labels.flip(0), labels)
    parts = [
        scores_and_maps(score, *columns)
        for columns in zip(
            *(part.split(size) for part in (train, test, labels.flip(0), labels)), strict=True
        )
    ]
    assert relative_error(torch.cat([part[0] for part in parts]), scores) < 1e-12
    assert relative_error(torch.cat([part[1][0] for part in parts]), maps) < 1e-12


@both_scores
def test_one_test_example_goes_with_every_training_example(kind: type[Score]) -> None:
    score, train, test = kind(small_model()), small_images(3), small_images(1, seed=2)
    expected = score(train, test.repeat(3, 1, 1, 1), [4, 4, 4], [0, 1, 2])
    for test_labels in (4, [4], torch.tensor(4), torch.tensor([4]), [4, 4, 4]):
        given = score(train, test, test_labels, torch.tensor([0, 1, 2]))
        torch.testing.assert_close(given, expected, rtol=1e-12, atol=0)
    torch.testing.assert_close(score(train, test, 4, 1), score(train, test, 4, [1, 1, 1]))


@both_scores
def test_scores_are_scores_of_pairs(kind: type[Score]) -> None:
    score, train, test = kind(small_model()), small_images(3), small_images(3, seed=2)
    labels, test_labels = torch.tensor([0, 1, 2]), torch.tensor([4, 2, 0])
    table = torch.stack([score(train, test[[q]], test_labels[[q]], labels) for q in range(3)], 1)
    paired = score(train, test, test_labels, labels)
    assert relative_error(paired, table.diag()) < 1e-12
    tests = score.test_gradients(test, test_labels)
    assert relative_error(score.against(train, labels, tests), table) < 1e-12


@both_scores
def test_missing_labels_are_the_models_predictions(kind: type[Score]) -> None:
    model, train, test = small_model(), small_images(3), small_images(3, seed=2)
    score = kind(model)
    predicted, predicted_test = model(train).argmax(1), model(test).argmax(1)
    for test_target, train_target in ((None, None), (predicted_test, None), (None, predicted)):
        given = _map(score, train, test, test_target, train_target)
        expected = _map(score, train, test, predicted_test, predicted)
        assert relative_error(given, expected) < 1e-12


# Inputs


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "sliced", "expanded", "flipped"])
def test_memory_layout_of_images_changes_nothing(layout: str) -> None:
    model, images, test = small_model(), small_images(3), small_images(3, seed=2)
    if layout == "expanded":
        images = images[:1].expand(3, -1, -1, -1).contiguous()

    def laid_out(plain: Tensor) -> Tensor:
        return {
            "channels_last": lambda: plain.to(memory_format=torch.channels_last),
            "transposed": lambda: plain.transpose(2, 3).contiguous().transpose(2, 3),
            "sliced": lambda: torch.cat([plain, plain], 3)[..., : plain.shape[3]],
            "expanded": lambda: plain[:1].expand(3, -1, -1, -1),
            "flipped": lambda: plain.flip(0).flip(0),
        }[layout]()

    expected, (maps,) = scores_and_maps(SlowScore(model), images, test)
    train = laid_out(images).requires_grad_()
    scores = GradCosScore(model)(train, laid_out(test) if layout != "expanded" else test)
    (given,) = torch.autograd.grad(scores.sum(), train)
    assert relative_error(scores, expected) < EXACT
    assert relative_error(given, maps) < EXACT


def test_channels_last_model_changes_nothing() -> None:
    model, train, test = small_model(), small_images(3), small_images(1, seed=2)
    expected, (maps,) = scores_and_maps(SlowScore(model), train, test)
    model = model.to(memory_format=torch.channels_last)
    train = train.to(memory_format=torch.channels_last)
    scores, (given,) = scores_and_maps(GradCosScore(model), train, test)
    assert relative_error(scores, expected) < EXACT
    assert relative_error(given, maps) < EXACT


def test_float32_agrees_with_float64_on_a_smooth_net() -> None:
    exact = small_cnn(nn.GELU).double().eval()
    train, test = small_images(3), small_images(3, seed=2)
    expected, (maps,) = scores_and_maps(SlowScore(exact), train, test)
    single = small_cnn(nn.GELU).eval()
    single.load_state_dict(exact.state_dict())
    scores, (given,) = scores_and_maps(GradCosScore(single), train.float(), test.float())
    assert scores.dtype == given.dtype == torch.float32
    assert relative_error(scores.double(), expected) < 1e-5
    assert relative_error(given.double(), maps) < 1e-4


def test_gradients_flow_on_to_what_the_images_were_made_from() -> None:
    model, test = small_model(), small_images(1, seed=2)
    seed = torch.randn(3, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    scores = GradCosScore(model)(seed.tanh() * 2, test, 1, 2)
    (given,) = torch.autograd.grad(scores.sum(), seed)
    maps = slow_map(SlowScore(model), seed.tanh() * 2, test, 1, 2)
    assert relative_error(given, maps * 2 * (1 - seed.tanh().square())) < EXACT


def test_maps_of_weighted_sums_are_weighted() -> None:
    score, train, test = (
        GradCosScore(small_model()),
        small_images(3).requires_grad_(),
        small_images(1, seed=2),
    )
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    scores = score(train, test, 1, 2)
    (weighted,) = torch.autograd.grad(scores, train, weights, retain_graph=True)
    (plain,) = torch.autograd.grad(scores.sum(), train)
    assert relative_error(weighted, weights[:, None, None, None] * plain) < 1e-12


def test_nothing_flows_to_the_test_side() -> None:
    score, train, test = (
        GradCosScore(small_model()),
        small_images(2),
        small_images(2, seed=2).requires_grad_(),
    )
    scores = score(train, test, 1, 2)
    assert torch.autograd.grad(scores.sum(), test, allow_unused=True) == (None,)


def test_models_with_several_inputs_take_tuples() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 3), nn.Linear(2, 3)
            self.out = nn.Linear(3, 5)

        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return self.out((self.first(first) * self.second(second)).tanh())

    model = Two().double().eval()
    train = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    test = torch.randn(1, 4, dtype=torch.float64), torch.randn(1, 2, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2])
    assert_exact(GradCosScore(model), SlowScore(model), train, test, labels[:1], labels)


def test_scores_of_integer_images_have_no_graph() -> None:
    model = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 5)).double().eval()
    words = torch.randint(0, 7, (2, 2))
    expected = SlowScore(model)(words, words[:1], 0, 1)
    assert relative_error(GradCosScore(model)(words, words[:1], 0, 1), expected) < EXACT


def test_two_scores_of_one_model_in_turn() -> None:
    model, train, test = small_model(), small_images(3), small_images(3, seed=2)
    late = GradCosScore(model, parameters=lambda name: name.startswith("8."))
    scores = (
        (GradCosScore(model), SlowScore(model)),
        (GradDotScore(model), SlowScore(model, formula=dot)),
        (late, SlowScore(model, parameters=lambda name: name.startswith("8."))),
    )
    labels = torch.tensor([0, 1, 2])
    for _ in range(2):
        for score, slow in scores:
            assert_exact(score, slow, train, test, labels.flip(0), labels)


def test_a_score_is_a_module_around_the_model() -> None:
    model = small_model()
    score = GradCosScore(model)
    assert score.model is model
    assert dict(score.named_parameters()) == {f"model.{k}": p for k, p in model.named_parameters()}
    with pytest.raises(TypeError, match="abstract"):
        Score(model)  # type: ignore[abstract]

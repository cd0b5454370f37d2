"""The test side: computed once for each distinct example, without graph and without hooks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore, TrainingGradCos
from tests.oracle import EXACT, SlowScore, assert_exact, relative_error, small_cnn


class Counting(nn.Module):
    """A net that counts the examples that go through it, whoever calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_cnn()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return self.net(images)


def _counting() -> Counting:
    return Counting().double().eval()


def _images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 8, 8, dtype=torch.float64)


@pytest.mark.parametrize(
    "repeated",
    [
        lambda one: one,
        lambda one: one.expand(6, -1, -1, -1),
        lambda one: one.repeat(6, 1, 1, 1),
        lambda one: one.repeat_interleave(6, 0),
        lambda one: one.repeat(9, 1, 1, 1),
    ],
    ids=["one row", "expanded", "repeated", "interleaved", "more rows than images"],
)
def test_repeated_rows_are_computed_once(repeated: object) -> None:
    model, train, test = _counting(), _images(6), _images(1)
    labels = torch.arange(6) % 5
    expected = SlowScore(model)(train, test, 1, labels)
    model.batches.clear()
    given = GradCosScore(model)(train, repeated(test), 1, labels)  # type: ignore[operator]
    assert sum(model.batches) == 6 + 1
    assert relative_error(given, expected) < EXACT


@pytest.mark.parametrize("interleaved", [True, False])
def test_each_of_several_repeated_rows_is_computed_once(interleaved: bool) -> None:
    model, train, test = _counting(), _images(6), _images(2)
    rows = torch.tensor([0, 0, 0, 1, 1, 1] if interleaved else [0, 1, 0, 1, 0, 1])
    labels = torch.arange(6) % 5
    GradCosScore(model)(train, test[rows], rows, labels)
    assert sum(model.batches) == 6 + 2
    assert_exact(GradCosScore(model), SlowScore(model), train, test[rows], rows, labels)


def test_the_same_image_with_another_label_is_another_example() -> None:
    model, train, test = _counting(), _images(2), _images(1)
    labels = torch.tensor([1, 2])
    expected = SlowScore(model)(train, test, labels, 0)
    model.batches.clear()
    given = GradCosScore(model)(train, test, labels, 0)
    assert sum(model.batches) == 2 + 2
    assert relative_error(given, expected) < EXACT


def test_a_map_made_in_chunks_computes_the_test_image_once() -> None:
    model, train, test = _counting(), _images(5), _images(1)
    TrainingGradCos(model).attribute(
        train, target=0, additional_forward_args=(test, 1), internal_batch_size=2
    )
    assert sum(model.batches) == 5 + 1


@pytest.mark.parametrize("method", [lambda score: Saliency(score), lambda score: None])
def test_noise_tunnel_computes_the_test_image_once(
    method: Callable[[GradCosScore], Saliency | None],
) -> None:
    model, train, test = _counting(), _images(2), _images(1)
    smooth = NoiseTunnel(method(GradCosScore(model)) or TrainingGradCos(model))
    smooth.attribute(train, nt_samples=5, stdevs=0.1, additional_forward_args=(test, 1))
    assert sum(model.batches) == 5 * 2 + 1


def test_gradients_of_test_examples_have_no_graph() -> None:
    model, test = _counting(), _images(2).requires_grad_()
    tests = GradDotScore(model).test_gradients(test, [1, 2])
    slow = SlowScore(model)
    norms = [
        sum(gradient.square().sum() for gradient in slow.gradient((image[None],), label[None]))
        for image, label in zip(test, torch.tensor([1, 2]), strict=True)
    ]
    torch.testing.assert_close(tests.squares, torch.stack(norms).detach(), rtol=1e-12, atol=0)
    assert not tests.squares.requires_grad
    scores = GradDotScore(model)(_images(2), test)
    assert torch.autograd.grad(scores.sum(), test, allow_unused=True) == (None,)


def test_no_hook_fires_for_the_test_side_and_each_once_for_the_training_side() -> None:
    model = _counting()
    seen: Counter[nn.Module] = Counter()
    sizes = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *rest: seen.update([module]))
    model.net[0].register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    score = GradCosScore(model)
    score(_images(4), _images(4), 1, 0)
    assert set(seen.values()) == {1}
    assert sizes == [4]
    seen.clear()
    score.test_gradients(_images(2))
    score.against(_images(2), 0, score.test_gradients(_images(1)))
    score.of_itself(_images(2), 0)
    assert not seen


def test_a_hook_that_changes_an_output_applies_to_the_training_side() -> None:
    model, train, test = _counting(), _images(3), _images(1)
    labels = torch.tensor([0, 1, 2])
    score = GradCosScore(model)
    plain = score(train, test, 1, labels)
    handle = model.net[0].register_forward_hook(lambda module, given, output: output.tanh() * 2)
    # The oracle too takes the user's hooks off for the test side.
    assert_exact(score, SlowScore(model), train, test, torch.tensor([1]), labels)
    assert not torch.allclose(score(train, test, 1, labels), plain)
    handle.remove()
    torch.testing.assert_close(score(train, test, 1, labels), plain, rtol=1e-12, atol=0)


def test_a_hook_that_replaces_an_output_cuts_off_what_lies_above() -> None:
    # As captum's LayerIntegratedGradients does: the layers above no longer count.
    model, train, test = _counting(), _images(3), _images(1)
    labels = torch.tensor([0, 1, 2])
    inside = torch.randn(3, 4, 8, 8, dtype=torch.float64, requires_grad=True)
    model.net[1].register_forward_hook(lambda *seen: inside)
    scores = GradCosScore(model)(train, test, 1, labels)
    (given,) = torch.autograd.grad(scores.sum(), inside)
    model.net[1]._forward_hooks.clear()
    for row in range(3):
        handle = model.net[1].register_forward_hook(lambda *seen, row=row: inside[[row]])
        slow = SlowScore(model)(train[[row]], test, 1, labels[[row]])
        (right,) = torch.autograd.grad(slow.sum(), inside)
        handle.remove()
        assert relative_error(scores[[row]].detach(), slow.detach()) < EXACT
        assert relative_error(given[row], right[row]) < EXACT


def test_hooks_on_inputs_and_backward_hooks_apply_to_the_training_side() -> None:
    model, train, test = _counting(), _images(2), _images(1)
    model.net[4].register_forward_pre_hook(lambda module, given: (given[0] * 1.5,))
    backward: list[nn.Module] = []
    model.net[0].register_full_backward_hook(lambda module, *rest: backward.append(module))
    labels = torch.tensor([0, 1])
    assert_exact(GradCosScore(model), SlowScore(model), train, test, torch.tensor([1]), labels)
    backward.clear()
    GradCosScore(model).test_gradients(test)
    assert backward == []


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_hooks_that_return_something_take_part_in_every_mode(mode: type) -> None:
    model, train, test = _counting(), _images(3), _images(1)
    fired: list[int] = []

    def doubled(module: nn.Module, given: object, output: Tensor) -> Tensor:
        fired.append(len(output))
        return output * 2

    model.net[0].register_forward_hook(doubled)
    expected = SlowScore(model)(train, test, 1, 0)
    fired.clear()
    with mode():
        scores = GradCosScore(model)(train, test, 1, 0)
    # Where the caller wants no graph, a hook is called without one first; if it returns
    # something else than it was given, once more to take part.
    assert fired == ([3] if mode is torch.enable_grad else [3, 3])
    assert relative_error(scores.detach(), expected.detach()) < EXACT


def test_test_images_may_have_another_size_than_training_images() -> None:
    model, train = small_cnn().double().eval(), _images(3)
    labels = torch.tensor([0, 1, 2])
    score = GradCosScore(model)
    for side in (5, 8, 12):
        test = torch.randn(2, 3, side, side, dtype=torch.float64)
        rows = torch.tensor([0, 1, 0])
        assert_exact(score, SlowScore(model), train, test[rows], labels, labels)
        table = score.against(train, labels, score.test_gradients(test, [1, 2]))
        for query in range(2):
            expected = SlowScore(model)(train, test[[query]], query + 1, labels)
            assert relative_error(table[:, query], expected) < EXACT

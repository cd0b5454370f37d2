from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradDotScore
from captum_tfa.gradients import Gradients, memory


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)]
    return nn.Sequential(*layers).double().eval()


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 5, 5, dtype=torch.float64)


def test_passes_of_a_few_examples_give_what_one_pass_gives(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    score, train, labels = GradDotScore(model), images(11), torch.arange(11) % 3
    tests = score.test_gradients(images(2), [0, 1])
    sizes: list[int] = []
    monkeypatch.setattr(
        model,
        "forward",
        lambda image: sizes.append(len(image)) or nn.Sequential.forward(model, image),
    )
    at_once = score.against(train, labels, tests), score.of_itself(train, labels)
    monkeypatch.setattr(memory, "_BYTES_WITHOUT_GRAPH_ON_CPU", 0)
    in_parts = score.against(train, labels, tests), score.of_itself(train, labels)
    assert sizes == [11, 11, 4, 4, 3, 4, 4, 3]
    torch.testing.assert_close(in_parts, at_once)


def test_a_test_gradient_does_not_depend_on_the_tests_beside_it(model: nn.Module) -> None:
    score, test = GradDotScore(model), images(5)
    together = score.test_gradients(test, [0, 1, 2, 0, 1])
    for row, label in enumerate([0, 1, 2, 0, 1]):
        alone = score.test_gradients(test[[row]], [label])
        assert together.by_name.keys() == alone.by_name.keys()
        for name, gradient in alone.by_name.items():
            torch.testing.assert_close(together.by_name[name].dense[[row]], gradient.dense)
        torch.testing.assert_close(together.squares[[row]], alone.squares)


def test_products_of_parameters_add_up_to_those_of_all(model: nn.Module) -> None:
    score = GradDotScore(model)
    tests = score.test_gradients(images(3), [0, 1, 2])
    for rows in (None, torch.tensor([2, 0, 1, 1])):

        def told_apart(gradients: Gradients) -> torch.Tensor:
            parts = gradients.products_by_parameter(tests, rows)  # noqa: B023
            whole = gradients.products(tests, rows)  # noqa: B023
            assert list(parts) == ["0.weight", "0.bias", "3.weight", "3.bias"]
            inner = [part.inner for part in parts.values() if part.inner is not None]
            assert whole.inner is not None
            torch.testing.assert_close(torch.stack(inner).sum(0), whole.inner)
            squares = torch.stack([part.squares for part in parts.values()]).sum(0)
            torch.testing.assert_close(squares, whole.squares)
            return squares

        score._gradients.apply(told_apart, (images(4),), torch.tensor([0, 1, 2, 0]))

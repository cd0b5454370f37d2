from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, LayerTrainingGradCos
from tests.oracle import NETS, relative_error


@pytest.mark.parametrize(
    "name", ["small cnn", "encoder and decoder", "tied modules", "weight norm"]
)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_threads_that_share_a_score_get_what_one_alone_gets(name: str) -> None:
    case = NETS[name]
    score = GradCosScore(case.model())

    def one(number: int) -> tuple[Tensor, Tensor, Tensor]:
        # Batches of several sizes, and test images that come back.
        train = case.inputs(1 + number % 3, seed=number)[0].requires_grad_()
        test = case.inputs(1, seed=100 + number % 4)
        scores = score(train, test, number % 5, 2)
        (maps,) = torch.autograd.grad(scores.sum(), train)
        return (
            scores.detach(),
            maps,
            score.against(train, 2, score.test_gradients(test, number % 5)),
        )

    numbers = list(range(12))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(one, numbers))
    score = GradCosScore(case.model())
    for number, given in zip(numbers, together, strict=True):
        for part, expected in zip(given, one(number), strict=True):
            assert relative_error(part, expected) < 1e-12


class KeepsItsWeight(nn.Module):
    """Computes a weight, as weight normalisation does, and comes back to it after a while."""

    def __init__(self) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(5, 3, dtype=torch.float64))
        self.length = nn.Parameter(torch.ones((), dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        self.weight = self.length * self.direction / self.direction.norm()
        time.sleep(0.01)  # long enough for another thread to come in between
        return nn.functional.linear(inputs, self.weight)


def test_a_model_that_keeps_tensors_of_a_pass_is_run_by_one_thread_at_a_time() -> None:
    torch.manual_seed(0)
    model = KeepsItsWeight().eval()
    scores = GradCosScore(model), GradCosScore(model)
    test = torch.randn(1, 3, dtype=torch.float64)
    train = torch.randn(8, 3, dtype=torch.float64)
    expected = scores[0](train, test, 1, 2)
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda row: scores[row % 2](train[row : row + 1], test, 1, 2), range(8))
        given = torch.cat(list(together))
    assert relative_error(given, expected) < 1e-12


@pytest.mark.parametrize("layer", ["0", "3"])
def test_layer_maps_of_several_threads_are_those_of_one(layer: str) -> None:
    model = NETS["small cnn"].model()
    method = LayerTrainingGradCos(model, model.get_submodule(layer))

    def one(number: int) -> Tensor:
        train = NETS["small cnn"].inputs(2, seed=number % 5)[0]
        test = NETS["small cnn"].inputs(1, seed=50 + number % 3)[0]
        maps = method.attribute(train, 2, (test, number % 5))
        assert isinstance(maps, Tensor)
        return maps

    expected = [one(number) for number in range(15)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(one, range(240)))
    for number, given in enumerate(together):
        assert relative_error(given, expected[number % 15]) < 1e-12
    assert not any(module._forward_hooks for module in model.modules())

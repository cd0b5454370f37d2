"""The map is what the score does when a pixel changes: measured, not derived."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, GradDotScore
from captum_tfa.scores import Score
from tests.oracle import NETS, relative_error, scores_and_maps, small_cnn


def _differences(score: Score, train: Tensor, *rest: object, step: float = 1e-4) -> Tensor:
    """Central differences of the score for every pixel, of fourth order in the step."""

    def moved(distance: float) -> Tensor:
        pixels = train[0].numel()
        each = distance * torch.eye(pixels, dtype=train.dtype).view(pixels, *train.shape[1:])
        rows = [score(image + each, *rest).detach() for image in train]
        return torch.stack(rows).view_as(train)

    near, far = moved(step) - moved(-step), moved(2 * step) - moved(-2 * step)
    return (8 * near - far) / (12 * step)


@pytest.mark.parametrize("kind", [GradCosScore, GradDotScore])
def test_map_equals_finite_differences_on_a_smooth_net(kind: type[Score]) -> None:
    model = small_cnn(nn.GELU).double().eval()
    train = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    test = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    score = kind(model)
    _, (maps,) = scores_and_maps(score, train, test, torch.tensor([1]), torch.tensor([2]))
    assert relative_error(maps, _differences(score, train, test, 1, 2)) < 1e-7


@pytest.mark.parametrize("name", ["attention", "raw parameters", "lstm", "weight norm"])
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_map_equals_finite_differences_on_other_nets(name: str) -> None:
    case = NETS[name]
    score, (train,), (test,) = GradCosScore(case.model()), case.inputs(2), case.inputs(1, seed=2)
    _, (maps,) = scores_and_maps(score, train, test, torch.tensor([1]), torch.tensor([2]))
    assert relative_error(maps, _differences(score, train, test, 1, 2)) < 1e-7

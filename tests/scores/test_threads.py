from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from captum_tfa import GradCosScore
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

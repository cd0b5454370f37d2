"""Who carries the planted square, and which mistakes there would not be without it."""

from __future__ import annotations

import torch

from captum_tfa.demo import Pictures
from common.planted_audits import caused_by_square, learned, plant, some_of_each


def test_who_carries_the_square_and_which_mistakes_it_causes() -> None:
    grey = torch.full((40, 3, 8, 8), 0.5)
    labels = torch.arange(40) % 2
    pictures = Pictures(grey, labels, ["planted", "other"])
    square = torch.zeros(8, 8, dtype=torch.bool)
    square[-2:, -2:] = True
    data = plant(pictures, pictures, 0, square, 0.5, 0.5, seed=0)
    red = data.train.images[:, :, -1, -1]
    assert torch.equal(red[:, 0] == 1, data.with_square)
    assert int(data.with_square.sum()) == 10
    assert not data.with_square[labels == 1].any()
    assert not data.carries[labels == 0].any()
    assert 0 < int(data.carries.sum()) < 20
    assert torch.equal(data.test.images[:, 0, -1, -1] == 1, data.carries)
    assert torch.equal(data.twins.images[:, 0, -1, -1] == 1, ~data.carries)
    assert len(some_of_each(pictures, 3, 0)) == 6

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

    class SeesTheSquare(Network):
        """Says the planted class where there is the square, else the other."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            there = (images[:, 0, -1, -1] == 1).float()
            return torch.stack([there, 1 - there], 1)

    model = SeesTheSquare()
    assert learned(model, data) == {
        "right": 0.5,
        "planted class, right without": 0,
        "planted class, right with": 1,
        "others, called so without": 0,
        "others, called so with": 1,
    }
    wrong = ((labels == 0) | data.carries).nonzero().flatten().tolist()
    assert caused_by_square(model, data, wrong).all()

    class SaysOne(Network):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(images), 2)

    assert not caused_by_square(SaysOne(), data, list(range(40))).any()

"""Of several inputs those with a gradient are mapped, and words get zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_tfa import TrainingGradCos
from tests.oracle import SlowScore, relative_error


class Captioned(nn.Module):
    """A classifier of a picture ``[B, 1, 4, 4]`` and three words ``[B, 3]``."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.picture, self.out = nn.Linear(16, 4), nn.Linear(4, 3)

    def forward(self, picture: Tensor, words: Tensor) -> Tensor:
        return self.out((self.picture(picture.flatten(1)) * self.table(words).sum(1)).tanh())


def test_the_picture_is_mapped_and_words_get_zeros() -> None:
    model = Captioned().double().eval()
    pictures, words = torch.randn(3, 1, 4, 4).double(), torch.randint(7, (3, 3))
    test = (torch.randn(1, 1, 4, 4).double(), torch.randint(7, (1, 3)))
    labels = torch.tensor([0, 1, 2])
    of_picture, of_words = TrainingGradCos(model).attribute((pictures, words), labels, (test, 1))
    leaf = pictures.clone().requires_grad_()
    slow = SlowScore(model)((leaf, words), test, 1, labels)
    (expected,) = torch.autograd.grad(slow.sum(), leaf)
    assert relative_error(of_picture, expected) < 1e-8
    assert of_words.shape == words.shape
    assert of_words.is_floating_point()
    assert not of_words.any()

from __future__ import annotations

import torch

from captum_tfa.demo import SmallCNN, make_shapes, predict, train_classifier
from common.training import train_in_half


def trained(how, seed: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return how(SmallCNN(4), make_shapes(16, 1, size=16).train, 2, seed=seed)


def test_training_in_half_gives_an_ordinary_network() -> None:
    model = trained(train_in_half, seed=0)
    assert isinstance(model, SmallCNN)
    assert not model.training
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.is_contiguous()
        assert parameter.grad is None


def test_it_learns_what_full_precision_learns() -> None:
    shapes = make_shapes(16, 1, size=16).train
    half, full = (trained(how, seed=0) for how in (train_in_half, train_classifier))
    untrained = SmallCNN(4).eval()
    first, second, other = (predict(model, shapes)[0] for model in (half, full, untrained))
    assert (first - second).abs().mean() < 0.25 * (first - other).abs().mean()


def test_the_same_seed_gives_the_same_network() -> None:
    first, second, other = (trained(train_in_half, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)

"""The training that leaves checkpoints."""

from __future__ import annotations

import torch
from torch import nn

from common.checkpoints import train_with_checkpoints


def trained(epochs: int, every: int) -> tuple[nn.Module, list]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
        images, labels = torch.randn(20, 3, 4, 4), torch.arange(20) % 2
        return model, train_with_checkpoints(model, images, labels, epochs, every, batch_size=8)


def test_the_last_checkpoint_is_the_model() -> None:
    model, states = trained(5, 2)
    assert len(states) == 3  # after 2, 4 and 5 epochs
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(states[-1][name], value)
        assert states[-1][name].data_ptr() != value.data_ptr()
    assert [int(state["1.num_batches_tracked"]) for state in states] == [6, 12, 15]


def test_the_seed_decides() -> None:
    first, second = trained(2, 1)[1], trained(2, 1)[1]
    assert all(torch.equal(first[-1][name], second[-1][name]) for name in first[-1])

"""Recording adds up what walking over stored states gives, and does not touch the training."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import Trajectory, TrajectoryRecorder, XtrAIn, XtrAInPlus
from tests.attr.small_nets import drawn, made

X, Y = drawn(12, 1, 2, 6, 6), torch.arange(12) % 3
ASKED = drawn(2, 7, 2, 6, 6)


def net() -> nn.Module:
    layers = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.3)]
    return made(nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 3))).train()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 4) -> None:
    for _ in range(steps):
        rows = torch.randperm(12)[:5]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()


def trained(watch: Callable[[nn.Module, torch.optim.Optimizer], Any]) -> list[Tensor]:
    """All that a training leaves behind: weights, statistics, moments, gradients, random state."""
    torch.manual_seed(5)
    model = net()
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    with watch(model, optimizer):
        train(model, optimizer)
    assert model.training
    moments = [value for state in optimizer.state.values() for value in state.values()]
    gradients = [parameter.grad for parameter in model.parameters()]
    return [*model.state_dict().values(), *moments, *gradients, torch.get_rng_state()]


def test_the_trainings_own_numbers_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    plain = trained(lambda model, optimizer: nullcontext())
    recording = trained(lambda model, optimizer: XtrAIn.recording(model, optimizer, ASKED, 1))
    written = trained(lambda model, optimizer: TrajectoryRecorder(model, optimizer, tmp_path))
    for one, two, three in zip(plain, recording, written, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.parametrize("method", [XtrAIn, XtrAInPlus])
def test_it_is_what_stored_states_give(tmp_path: Path, method: type[XtrAIn]) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    target, masks = torch.tensor([0, 2]), (torch.arange(72) % 6).view(1, 2, 6, 6)
    with (
        TrajectoryRecorder(model, optimizer, tmp_path),
        method.recording(model, optimizer, ASKED, target, feature_mask=masks) as recorded,
    ):
        assert not recorded.attributions.any()
        train(model, optimizer, 3)
    train(model, optimizer, 2)  # after it is closed nothing is added
    assert recorded.made == 3
    model.eval()
    stored = method(model, Trajectory.open(tmp_path)).attribute(ASKED, target, feature_mask=masks)
    torch.testing.assert_close(recorded.attributions, stored, rtol=1e-12, atol=1e-14)


def test_a_failing_training_leaves_no_hook() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = dict(optimizer._optimizer_step_post_hooks)
    with pytest.raises(ZeroDivisionError), XtrAIn.recording(model, optimizer, (ASKED,), 1) as rec:
        raise ZeroDivisionError
    assert dict(optimizer._optimizer_step_post_hooks) == before
    assert isinstance(rec.attributions, tuple)


def test_what_cannot_be_recorded_is_told_before_training() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(TypeError, match="optimizer is a Sequential"):
        XtrAIn.recording(model, model, ASKED, 1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="target is missing"):
        XtrAIn.recording(model, optimizer, ASKED)
    with pytest.raises(ValueError, match="internal_batch_size is 0"):
        XtrAIn.recording(model, optimizer, ASKED, 1, internal_batch_size=0)
    assert not optimizer._optimizer_step_post_hooks

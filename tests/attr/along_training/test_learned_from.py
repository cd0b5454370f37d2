"""A step of plain SGD splits over its examples, and all of it is the change of the output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import LearnedFrom, TracInScore, Trajectory, TrajectoryRecorder
from tests.attr.along_training.slow_xtrain import at
from tests.attr.comparing import left_as_found
from tests.attr.small_nets import drawn, made

TRAIN = TensorDataset(drawn(12, 1, 5), torch.arange(12) % 3)
ASKED = drawn(2, 7, 5)


def recorded(folder: Path, momentum: float = 0.0) -> tuple[nn.Module, Trajectory]:
    model = made(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=momentum)
    x, y = TRAIN.tensors
    with TrajectoryRecorder(model, optimizer, folder) as recorder:
        for _ in range(4):
            rows = torch.randperm(12)[:5]
            recorder.batch(rows)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model, Trajectory.open(folder)


def logits(model: nn.Module, state: Any) -> Tensor:
    with torch.no_grad():
        return at(model, state)(ASKED)[:, 1]


def test_it_sums_to_the_change_of_the_output(tmp_path: Path) -> None:
    model, trajectory = recorded(tmp_path)
    method = LearnedFrom(model, trajectory, TRAIN, n_steps=12)
    change = logits(model, trajectory[4]) - logits(model, trajectory[0])
    with left_as_found(model):
        steps = list(method.by_step(ASKED, 1))
        table = method.totals(ASKED, 1)
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert table.shape == (2, 12)
    torch.testing.assert_close(table.sum(1), change, rtol=0, atol=1e-8)
    for step in steps:
        assert step.rest.abs().max() < 1e-10


def test_a_share_is_the_integral_of_the_plain_gradients_product(tmp_path: Path) -> None:
    model, trajectory = recorded(tmp_path)
    step = next(LearnedFrom(model, trajectory, TRAIN, n_steps=12).by_step(ASKED, 1))
    before, after = trajectory[0], trajectory[1]
    x, y = TRAIN.tensors
    count, right = 400, torch.zeros(2, 5, dtype=torch.double)
    for column, index in enumerate(step.indices):
        old = at(model, before)
        loss = nn.functional.cross_entropy(old(x[[index]]), y[[index]])
        gradient = torch.autograd.grad(loss, list(old.parameters()))
        for place in range(count):
            part = (place + 0.5) / count
            here = at(model, {k: torch.lerp(before[k], after[k], part) for k in before})
            for row in range(2):
                slope = torch.autograd.grad(here(ASKED[[row]])[0, 1], list(here.parameters()))
                product = sum((a * b).sum() for a, b in zip(slope, gradient, strict=True))
                right[row, column] -= 0.1 / 5 / count * product
    torch.testing.assert_close(step.shares, right, rtol=1e-5, atol=1e-9)


def test_to_first_order_it_is_tracin_of_the_logit(tmp_path: Path) -> None:
    model, trajectory = recorded(tmp_path)
    step = next(LearnedFrom(model, trajectory, TRAIN).by_step(ASKED[:1], 1))
    score = TracInScore(model, [trajectory[0]], [0.1 / 5], measure_fn="logit")
    x, y = TRAIN[step.indices]
    tracin = score(x, ASKED[:1], torch.tensor([1]), y).detach()
    torch.testing.assert_close(step.shares[0], tracin, rtol=0.2, atol=1e-4)


def test_the_rest_is_what_momentum_did(tmp_path: Path) -> None:
    model, trajectory = recorded(tmp_path, momentum=0.9)
    steps = list(LearnedFrom(model, trajectory, TRAIN, n_steps=12).by_step(ASKED, 1))
    assert steps[0].rest.abs().max() < 1e-10
    assert steps[1].rest.abs().max() > 1e-4
    for number, step in enumerate(steps):
        change = logits(model, trajectory[number + 1]) - logits(model, trajectory[number])
        torch.testing.assert_close(step.shares.sum(1) + step.rest, change)


def test_what_it_needs_is_told() -> None:
    model = made(nn.Linear(5, 3))
    state = model.state_dict()
    with pytest.raises(ValueError, match="no learning rates or no batches"):
        LearnedFrom(model, Trajectory([state] * 2), TRAIN)
    facts: dict[str, Any] = {"learning_rates": [0.1], "batches": [[40]]}
    with pytest.raises(ValueError, match="further apart than one step"):
        LearnedFrom(model, Trajectory([state] * 2, [0, 5], **facts), TRAIN)
    with pytest.raises(ValueError, match="n_steps is 0"):
        LearnedFrom(model, Trajectory([state] * 2, **facts), TRAIN, n_steps=0)
    with pytest.raises(ValueError, match="holds example 40, and train_dataset has 12"):
        LearnedFrom(model, Trajectory([state] * 2, **facts), TRAIN).totals(ASKED, 1)

"""Where an example has no gradient of its own, scores are refused, whatever hides it."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

from captum_tfa import GradCosScore, ScoreInfluence, TrainingGradCos, validate
from tests.oracle import model_state

LABELS = torch.tensor([0, 1, 2, 0])
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script. is deprecated:FutureWarning")


class Net(nn.Module):
    """A classifier with something between its layers."""

    def __init__(self, between: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(6, 6), nn.Linear(6, 3), between
        self.register_buffer("running", torch.zeros(6))

    def forward(self, input: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(input)))


def _scripted(model: nn.Module) -> nn.Module:
    return torch.jit.script(model)


def _dropped_by_python(net: Net, hidden: Tensor) -> Tensor:
    return hidden * 2 if net.training and random.random() < 0.02 else hidden


def _dropped_by_numpy(net: Net, hidden: Tensor) -> Tensor:
    return hidden * 2 if net.training and np.random.random() < 0.02 else hidden


def _normalised(net: Net, hidden: Tensor) -> Tensor:
    return F.batch_norm(hidden, net.running, net.running + 1, training=net.training)


IN_TRAINING: dict[str, Callable[[], nn.Module]] = {
    "scripted batch norm": lambda: _scripted(
        nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))
    ),
    "scripted dropout": lambda: _scripted(nn.Sequential(nn.Dropout(0.1), nn.Linear(6, 3))),
    "scripted within": lambda: nn.Sequential(
        nn.Linear(6, 6), _scripted(nn.Sequential(nn.BatchNorm1d(6))), nn.Linear(6, 3)
    ),
    "functional batch norm": lambda: Net(_normalised),
    "functional dropout": lambda: Net(lambda net, hidden: F.dropout(hidden, 0.05, net.training)),
    "drop path": lambda: Net(
        lambda net, hidden: hidden + stochastic_depth(hidden, 0.02, "row", net.training)
    ),
    "chance of python": lambda: Net(_dropped_by_python),
    "chance of numpy": lambda: Net(_dropped_by_numpy),
}


def _busy(model: nn.Module) -> None:
    """Runs a model once, so that it has statistics."""
    with torch.no_grad():
        model(torch.randn(4, 6))


@pytest.mark.parametrize("name", IN_TRAINING)
def test_training_mode_is_refused_wherever_it_hides(name: str) -> None:
    model = IN_TRAINING[name]()
    _busy(model)
    images = torch.randn(4, 6)
    buffers = [buffer.clone() for buffer in model.buffers()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    score = GradCosScore(model)
    calls: list[Callable[[], object]] = [
        lambda: score(images, images[:1], 1, LABELS),
        lambda: score(images[:1], images[:1], 1, 0),
        lambda: score.against(images, LABELS, score.test_gradients(images[:1], 1)),
        lambda: TrainingGradCos(model).attribute(images, LABELS, images[:1]),
        lambda: ScoreInfluence(score, list(zip(images, LABELS, strict=True))).influence(
            (images[:1], 1)
        ),
        lambda: validate(model, images, 1, check=True),
    ]
    for call in calls:
        for _ in range(2):
            with pytest.raises(RuntimeError, match=r"random.*model\.eval\(\)"):
                call()
    for buffer, before in zip(model.buffers(), buffers, strict=True):
        assert torch.equal(buffer, before)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.random.get_state()[1].tolist() == states[2]
    model.eval()
    assert bool(score(images, images[:1], 1, LABELS).isfinite().all())


@pytest.mark.parametrize("rate", [0.02, 0.5])
def test_chance_in_evaluation_mode_is_refused(rate: float) -> None:
    model = Net(lambda net, hidden: F.dropout(hidden, rate, training=True)).eval()
    images = torch.randn(4, 6)
    for batch in (1, 4):
        with pytest.raises(RuntimeError, match="its output is random"):
            GradCosScore(model)(images[:batch], images[:1], 1, LABELS[:batch])


def test_random_numbers_without_effect_are_no_obstacle() -> None:
    model = Net(lambda net, hidden: hidden + 0 * torch.randn_like(hidden)).eval()
    plain = Net(lambda net, hidden: hidden).eval()
    plain.load_state_dict(model.state_dict())
    images, before = torch.randn(4, 6), torch.get_rng_state()
    scores = GradCosScore(model)(images, images[:1], 1, LABELS)
    torch.testing.assert_close(scores, GradCosScore(plain)(images, images[:1], 1, LABELS))
    assert torch.equal(torch.get_rng_state(), before)


COUPLED: dict[str, Callable[[Net, Tensor], Tensor]] = {
    "mean of the batch": lambda net, hidden: hidden - 0.5 * hidden.mean(0),
    "largest of the batch": lambda net, hidden: hidden / hidden.abs().amax(),
    "attention over the batch": lambda net, hidden: (hidden @ hidden.T).softmax(1) @ hidden,
}


@pytest.mark.parametrize("name", COUPLED)
def test_examples_that_depend_on_each_other_are_refused(name: str) -> None:
    model = Net(COUPLED[name]).eval()
    images = torch.randn(4, 6)
    with pytest.raises(RuntimeError, match="examples of a batch depend on each other"):
        GradCosScore(model)(images, images[:1], 1, LABELS)


def test_models_in_training_mode_without_such_layers_may_be_scored() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3)).train()
    images = torch.randn(4, 6)
    before = model_state(model)
    scores = GradCosScore(model)(images, images[:1], 1, LABELS)
    assert model_state(model) == before
    torch.testing.assert_close(
        scores, GradCosScore(model.eval())(images, images[:1], 1, LABELS), rtol=0, atol=0
    )


def test_models_that_take_one_example_at_a_time_are_checked_with_one() -> None:
    class OneOnly(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input.reshape(1, 6))

    model = OneOnly(6, 3).train()
    image = torch.randn(1, 6)
    assert float(GradCosScore(model)(image, image, 1, 1)) == pytest.approx(1)

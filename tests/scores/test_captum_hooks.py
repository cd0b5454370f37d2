from __future__ import annotations

import pytest
import torch
from captum.attr import (
    LRP,
    Deconvolution,
    DeepLift,
    DeepLiftShap,
    GuidedBackprop,
    GuidedGradCam,
    LayerActivation,
    Saliency,
)
from torch import Tensor, nn

from captum_tfa import GradCosScore
from tests.oracle import model_state


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 2, 2), nn.ReLU()
        self.out = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.out(self.relu(self.conv(images)).flatten(1))


def _attribute(method: str, score: GradCosScore, images: Tensor, test: Tensor) -> object:
    model = score.model
    arguments = {"additional_forward_args": (test, 1, 2)}
    if method == "DeepLiftShap":
        return DeepLiftShap(score).attribute(images, torch.zeros_like(images), **arguments)
    if method == "GuidedGradCam":
        assert isinstance(model, Net)
        return GuidedGradCam(score, model.conv).attribute(images, **arguments)
    kinds = {"DeepLift": DeepLift, "LRP": LRP, "GuidedBackprop": GuidedBackprop}
    return {**kinds, "Deconvolution": Deconvolution}[method](score).attribute(images, **arguments)


@pytest.mark.parametrize(
    "method",
    ["GuidedBackprop", "Deconvolution", "GuidedGradCam", "DeepLift", "DeepLiftShap", "LRP"],
)
@pytest.mark.filterwarnings("ignore")
def test_methods_that_rewrite_gradients_are_refused_and_leave_no_trace(method: str) -> None:
    score = GradCosScore(Net().double().eval())
    images, test = torch.randn(2, 1, 3, 3).double(), torch.randn(1, 1, 3, 3).double()
    expected = score(images, test, 1, 2)
    before = model_state(score.model)
    with pytest.raises(RuntimeError, match=r"cannot attribute a score: .* Use Saliency"):
        _attribute(method, score, images.requires_grad_(), test)
    after = model_state(score.model)
    if method == "LRP":  # writes weights back, and marks modules with attributes of its own
        before, after = (
            {key: value for key, value in state.items() if "hooks" in key or "children" in key}
            for state in (before, after)
        )
    assert after == before
    torch.testing.assert_close(score(images, test, 1, 2), expected)


def test_methods_that_only_read_or_replace_are_not_refused() -> None:
    model = Net().double().eval()
    score = GradCosScore(model)
    images, test = torch.randn(2, 1, 3, 3).double(), torch.randn(1, 1, 3, 3).double()
    activation = LayerActivation(score, model.conv).attribute(
        images, additional_forward_args=(test, 1, 2)
    )
    torch.testing.assert_close(activation, model.conv(images))
    images.requires_grad_()
    (expected,) = torch.autograd.grad(score(images, test, 1, 2).sum(), images)
    given = Saliency(score).attribute(images, abs=False, additional_forward_args=(test, 1, 2))
    torch.testing.assert_close(given, expected)


def test_hooks_of_the_users_own_are_not_refused() -> None:
    model = Net().double().eval()
    model.relu.register_full_backward_hook(lambda module, given, output: None)
    model.relu.register_forward_hook(lambda module, given, output: None)
    images = torch.randn(2, 1, 3, 3).double()
    assert GradCosScore(model)(images, images, 1, 2).shape == (2,)

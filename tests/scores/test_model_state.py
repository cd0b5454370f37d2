"""A call leaves the model as it found it, however it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore
from tests.oracle import NETS, model_state


def _all_calls(score: GradCosScore, train: tuple[Tensor, ...], test: tuple[Tensor, ...]) -> None:
    train = tuple(
        part.clone().requires_grad_() if part.is_floating_point() else part for part in train
    )
    scores = score(train, test, 1, 2)
    torch.autograd.grad(scores.sum(), [part for part in train if part.requires_grad])
    score.against(train, 2, score.test_gradients(test))
    score.of_itself(train, 2)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_scores_and_maps_leave_the_model_alone(name: str) -> None:
    case = NETS[name]
    model = case.model()
    train, test = case.inputs(3), case.inputs(1, seed=2)
    model(*train)  # weight_norm and its like note the weight of the last forward pass
    for number, parameter in enumerate(model.parameters()):
        if number % 2:
            parameter.grad = torch.ones_like(parameter)
    for module in model.modules():
        module.register_forward_hook(lambda *seen: None)
        module.register_forward_pre_hook(lambda *seen: None)
    before = model_state(model)
    _all_calls(GradCosScore(model, output_fn=case.output_fn), train, test)
    after = model_state(model)
    if name in ("weight norm", "spectral norm", "pruned"):
        # Their hooks write the weight anew in each forward pass, the user's own too.
        before, after = (
            {key: value for key, value in state.items() if not key.endswith(" attributes")}
            for state in (before, after)
        )
    assert after == before


class Fails(nn.Module):
    """Fails in the forward pass that it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.net = NETS["small cnn"].model()
        self.fails: Callable[[Tensor], bool] = lambda images: False

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.net[0](images)
        if self.fails(images):
            raise KeyError("the user's own")
        return self.net[1:](hidden)


@pytest.mark.parametrize("side", ["training", "test", "hook", "loss", "map"])
def test_an_exception_leaves_the_model_alone(side: str) -> None:
    model = Fails()
    (train,), (test,) = NETS["small cnn"].inputs(3), NETS["small cnn"].inputs(1, seed=2)
    expected = GradCosScore(model)(train, test, 1, 2)

    def failing(*seen: object) -> None:
        raise KeyError("the user's own")

    score = GradCosScore(model, failing if side == "loss" else None)  # type: ignore[arg-type]
    if side in ("training", "test"):
        model.fails = lambda images: len(images) == (3 if side == "training" else 1)
    handle = model.net[4].register_forward_hook(failing) if side == "hook" else None
    if side == "map":
        model.net[4].register_full_backward_hook(failing)
    before = model_state(model)
    with pytest.raises(KeyError, match="the user's own"):
        torch.autograd.grad(score(train.requires_grad_(), test, 1, 2).sum(), train)
    assert model_state(model) == before
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    # And the next call is right.
    model.fails = lambda images: False
    model.net[4]._backward_hooks.clear()
    if handle is not None:
        handle.remove()
    score = score if side != "loss" else GradCosScore(model)
    torch.testing.assert_close(score(train, test, 1, 2), expected)


def test_the_callers_autograd_mode_stays() -> None:
    model = NETS["small cnn"].model()
    (train,), (test,) = NETS["small cnn"].inputs(3), NETS["small cnn"].inputs(1, seed=2)
    score = GradCosScore(model)
    for mode in (torch.no_grad(), torch.enable_grad(), torch.inference_mode()):
        with mode:
            before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
            score(train, test, 1, 2)
            assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_inputs_and_labels_stay_as_they_are() -> None:
    model = NETS["small cnn"].model()
    (train,), (test,) = NETS["small cnn"].inputs(3), NETS["small cnn"].inputs(1, seed=2)
    labels = torch.tensor([0, 1, 2])
    copies = train.clone(), test.clone(), labels.clone()
    GradCosScore(model)(train, test, labels[:1], labels).sum().backward()
    for tensor, copy in zip((train, test, labels), copies, strict=True):
        torch.testing.assert_close(tensor, copy, rtol=0, atol=0)
        assert not tensor.requires_grad
        assert tensor.grad is None

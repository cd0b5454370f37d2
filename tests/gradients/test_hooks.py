from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from captum_tfa.gradients import hookless
from tests.oracle import NETS, small_cnn

HOOKS = (
    "register_forward_hook",
    "register_forward_pre_hook",
    "register_full_backward_hook",
    "register_full_backward_pre_hook",
)


@pytest.mark.parametrize("name", NETS)
def test_computes_the_same(name: str) -> None:
    case = NETS[name]
    model = case.model()
    inputs = case.inputs(2)
    pick = case.output_fn or (lambda out: out)
    torch.testing.assert_close(pick(hookless(model)(*inputs)), pick(model(*inputs)), rtol=0, atol=0)


def test_fires_no_hook_and_leaves_the_models_own_in_place() -> None:
    model = small_cnn().double().eval()
    fired: list[str] = []
    for module in model.modules():
        for register in HOOKS:
            getattr(module, register)(lambda *seen, name=register: fired.append(name))
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    hookless(model)(images).sum().backward()
    assert fired == []
    model(images).sum().backward()
    assert set(fired) == set(HOOKS)


def test_hooks_that_change_outputs_have_no_effect() -> None:
    model = small_cnn().double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    plain = model(images)
    model[0].register_forward_hook(lambda module, given, output: 2 * output)
    model[4].register_forward_pre_hook(
        lambda module, given, kwargs: (given, kwargs), with_kwargs=True
    )
    assert not torch.equal(model(images), plain)
    torch.testing.assert_close(hookless(model)(images), plain, rtol=0, atol=0)


def test_shares_parameters_and_buffers_and_sees_later_changes() -> None:
    model = small_cnn()
    twin = hookless(model)
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert own is other
    for own, other in zip(model.buffers(), twin.buffers(), strict=True):
        assert own is other


def test_what_the_twin_notes_stays_in_the_twin() -> None:
    class Counting(nn.Linear):
        calls = 0

        def forward(self, input: Tensor) -> Tensor:
            self.calls += 1
            self.seen = input
            return super().forward(input)

    model = nn.Sequential(Counting(2, 2))
    before = dict(vars(model[0]))
    hookless(model)(torch.randn(1, 2))
    assert vars(model[0]) == before


def test_a_module_under_two_names_has_one_twin() -> None:
    model = NETS["tied modules"].model()
    twin = hookless(model)
    assert twin.first is twin.second
    assert twin.first is not model.first


@pytest.mark.parametrize(
    "normalize",
    [weight_norm, spectral_norm, parametrizations.weight_norm, parametrizations.spectral_norm],
)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_hooks_that_compute_weights_stay(normalize: Any) -> None:
    model = normalize(nn.Linear(3, 2)).eval()
    twin = hookless(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        given = twin(torch.ones(1, 3))
        torch.testing.assert_close(given, model(torch.ones(1, 3)), rtol=0, atol=0)


def test_scripted_parts_are_taken_as_they_are() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(3, 2), nn.Tanh()))
    model = nn.Sequential(scripted, nn.Linear(2, 2))
    twin = hookless(model)
    assert twin[0] is scripted
    torch.testing.assert_close(twin(torch.ones(1, 3)), model(torch.ones(1, 3)), rtol=0, atol=0)


def test_missing_children_stay_missing() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model.register_module("shortcut", None)
    assert hookless(model).shortcut is None


class Stages(nn.Module):
    """Keeps its layers in a plain list, and a bound method, beside registering them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(2, 2) for _ in range(3))
        self.stages = [self.first, self.second]
        self.last = {"third": self.third}
        self.head = self.third.forward

    def forward(self, input: Tensor) -> Tensor:
        for stage in self.stages:
            input = stage(input)
        return self.head(self.last["third"](input))


def test_modules_kept_in_plain_lists_and_dicts_fire_no_hook_either() -> None:
    model = Stages()
    fired: list[nn.Module] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, *seen: fired.append(module))
    twin = hookless(model)
    torch.testing.assert_close(twin(torch.ones(1, 2)), model(torch.ones(1, 2)))
    fired.clear()
    twin(torch.ones(1, 2))
    assert fired == []

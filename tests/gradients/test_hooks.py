from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm

from captum_tfa import GradCosScore
from captum_tfa.gradients import hookless
from tests.oracle import EXACT, NETS, SlowScore, assert_exact, flat, relative_error, small_cnn

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


def _equal_rate(module: nn.Module, given: object) -> None:
    setattr(module, "weight", module.weight_orig * 0.5)  # noqa: B010


def _with_equal_rate(layer: nn.Linear) -> nn.Linear:
    layer.weight_orig = nn.Parameter(layer.weight.data)
    del layer.weight
    layer.register_forward_pre_hook(_equal_rate)
    return layer


def test_hooks_that_compute_a_weight_fire_also_before_any_forward() -> None:
    class Explicit(nn.Module):
        def __init__(self, given: nn.Sequential) -> None:
            super().__init__()
            self.first, self.last = given[0].weight_orig, given[2].weight_orig
            self.first_bias, self.last_bias = given[0].bias, given[2].bias

        def forward(self, input: Tensor) -> Tensor:
            hidden = F.linear(input, self.first * 0.5, self.first_bias).tanh()
            return F.linear(hidden, self.last * 0.5, self.last_bias)

    layers = _with_equal_rate(nn.Linear(4, 5)), nn.Tanh(), _with_equal_rate(nn.Linear(5, 3))
    model = nn.Sequential(*layers).double().eval()
    train, test = torch.randn(3, 4).double(), torch.randn(1, 4).double()
    labels, explicit = torch.tensor([0, 1, 2]), Explicit(model)
    for _ in range(2):
        assert_exact(
            GradCosScore(model), SlowScore(explicit), train, test, torch.tensor([1]), labels
        )
        assert not hasattr(model[0], "weight")
        assert GradCosScore(model)(train, train, labels, labels).tolist() == pytest.approx([1] * 3)
        with torch.no_grad():
            model[0].weight_orig.mul_(1.3)


def _bound(model: nn.Sequential) -> None:
    """As a library does that moves weights about: ``forward`` is set on the instance."""
    block, last = model[1], model[2]

    def twice(self: nn.Sequential, input: Tensor) -> Tensor:
        return self[1](self[0](input)) + self[0](input)

    block.forward = types.MethodType(twice, block)
    before = last.forward
    last.forward = functools.update_wrapper(
        functools.partial(lambda module, input: before(input) * module.scale, last), before
    )
    last.scale = 2.0


def _closed_over(model: nn.Sequential) -> None:
    first = model[1][0]
    model[1].forward = lambda input: first(first(input)).tanh()


def _in_default(model: nn.Sequential) -> None:
    def forward(input: Tensor, layer: nn.Module = model[1][0]) -> Tensor:
        return layer(input).sigmoid()

    model[1].forward = forward


@pytest.mark.parametrize("change", [_bound, _closed_over, _in_default])
def test_forward_that_was_set_on_an_instance_is_bound_to_the_twin(
    change: Callable[[nn.Sequential], None],
) -> None:
    block = nn.Sequential(nn.Linear(5, 5), nn.Tanh())
    model = nn.Sequential(nn.Linear(4, 5), block, nn.Linear(5, 3)).double().eval()
    change(model)
    train, test = torch.randn(3, 4).double(), torch.randn(1, 4).double()
    labels = torch.tensor([0, 1, 2])
    expected = SlowScore(model)(train, test, 1, labels)
    fired: list[int] = []
    model[1][0].register_forward_hook(lambda module, given, output: fired.append(len(output)))
    scores = GradCosScore(model)(train, test, 1, labels)
    assert relative_error(scores, expected) < EXACT
    assert set(fired) == {3}  # never for the test image
    # Captum replaces the activation for the training image alone.
    fired.clear()
    moved = torch.randn(1, 5).double()
    handle = model[1][0].register_forward_hook(lambda module, given, output: output + moved)
    moved_scores = GradCosScore(model)(train, test, 1, labels)
    handle.remove()
    right = SlowScore(model)
    of_test = flat(right.gradient((test,), torch.tensor([1]))).detach()
    handle = model[1][0].register_forward_hook(lambda module, given, output: output + moved)
    for row in range(3):
        of_train = flat(right.gradient((train[[row]],), labels[[row]]))
        assert relative_error(moved_scores[row], right.formula(of_train, of_test)) < EXACT
    handle.remove()


def test_calls_that_cannot_be_followed_are_refused_where_hooks_would_see_them() -> None:
    class Helper:
        """No module and no function: nothing that can be made again."""

        __slots__ = ("layer",)

        def __init__(self, layer: nn.Module) -> None:
            self.layer = layer

    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)
            self.helper = Helper(self.layer)

        def forward(self, input: Tensor) -> Tensor:
            return self.helper.layer(input)

    model, images = Hidden().double().eval(), torch.randn(2, 4).double()
    expected = SlowScore(model)(images, images[:1], 1, 0)
    assert relative_error(GradCosScore(model)(images, images[:1], 1, 0), expected) < EXACT
    handle = model.layer.register_forward_hook(lambda *seen: None)
    hooks = dict(model.layer._forward_pre_hooks)
    with pytest.raises(RuntimeError, match="calls its module 'layer' in a way that cannot be foll"):
        GradCosScore(model)(images, images[:1], 1, 0)
    assert dict(model.layer._forward_pre_hooks) == hooks
    handle.remove()
    assert relative_error(GradCosScore(model)(images, images[:1], 1, 0), expected) < EXACT

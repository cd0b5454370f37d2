"""Every net of `tests.oracle.NETS`, one for each layer type and way of using parameters."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn

from captum_tfa import GradCosScore, GradDotScore
from tests.oracle import EXACT, NETS, SlowScore, assert_exact, cos, dot, relative_error

LABELS = torch.tensor([0, 3, 1])
TEST_LABELS = torch.tensor([1, 3, 4])
deprecated = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")


@deprecated
@pytest.mark.parametrize("cosine", [True, False], ids=["cos", "dot"])
@pytest.mark.parametrize("name", NETS)
def test_score_and_map_equal_double_backward_oracle(name: str, cosine: bool) -> None:
    case = NETS[name]
    model = case.model()
    score = (GradCosScore if cosine else GradDotScore)(model, output_fn=case.output_fn)
    slow = SlowScore(model, formula=cos if cosine else dot, output_fn=case.output_fn)
    assert_exact(score, slow, case.inputs(3), case.inputs(3, seed=2), TEST_LABELS, LABELS)


@deprecated
@pytest.mark.parametrize("name", NETS)
def test_ranking_equals_double_backward_oracle(name: str) -> None:
    case = NETS[name]
    model = case.model()
    train, test = case.inputs(3), case.inputs(2, seed=2)
    for score, cosine in (
        (GradCosScore(model, output_fn=case.output_fn), True),
        (GradDotScore(model, output_fn=case.output_fn), False),
    ):
        slow = SlowScore(model, formula=cos if cosine else dot, output_fn=case.output_fn)
        columns = [
            slow(train, tuple(part[[query]] for part in test), TEST_LABELS[[query]], LABELS)
            for query in range(2)
        ]
        ranked = score.against(train, LABELS, score.test_gradients(test, TEST_LABELS[:2]))
        assert not ranked.requires_grad
        assert relative_error(ranked, torch.stack(columns, 1)) < EXACT
        itself = torch.stack(
            [
                slow(*[tuple(part[[row]] for part in train)] * 2, LABELS[[row]], LABELS[[row]])[0]
                for row in range(3)
            ]
        )
        assert relative_error(score.of_itself(train, LABELS), itself) < EXACT


@deprecated
@pytest.mark.parametrize("name", NETS)
def test_maps_for_several_test_images_equal_double_backward_oracle(name: str) -> None:
    case = NETS[name]
    model = case.model()
    train, test = case.inputs(2)[0].requires_grad_(), case.inputs(2, seed=2)
    rest = tuple(part for part in case.inputs(2)[1:])
    score = GradCosScore(model, output_fn=case.output_fn)
    slow = SlowScore(model, output_fn=case.output_fn)
    tests = score.test_gradients(test, TEST_LABELS[:2])
    table = score.against((train, *rest), LABELS[:2], tests, differentiable=True)
    for query in range(2):
        (given,) = torch.autograd.grad(table[:, query].sum(), train, retain_graph=True)
        one = tuple(part[[query]] for part in test)
        scores = slow((train, *rest), one, TEST_LABELS[[query]], LABELS[:2])
        (right,) = torch.autograd.grad(scores.sum(), train)
        assert relative_error(table[:, query].detach(), scores.detach()) < EXACT
        assert relative_error(given, right) < EXACT


@deprecated
@pytest.mark.parametrize("name", NETS)
def test_training_hooks_fire_as_in_one_plain_forward(name: str) -> None:
    case = NETS[name]
    model = case.model()
    train, test = case.inputs(3), case.inputs(3, seed=2)
    fired: Counter[tuple[str, nn.Module]] = Counter()
    for module in model.modules():
        module.register_forward_pre_hook(lambda module, *seen: fired.update([("pre", module)]))
        module.register_forward_hook(lambda module, *seen: fired.update([("post", module)]))
    model(*train)
    plain = fired.copy()
    fired.clear()
    score = GradCosScore(model, output_fn=case.output_fn)
    for _ in range(2):  # the first call may have to find out more than later ones
        score(train, test, TEST_LABELS, LABELS)
        assert fired == plain
        fired.clear()
    score.against(train, LABELS, score.test_gradients(test, TEST_LABELS))
    assert not fired


@deprecated
@pytest.mark.parametrize("name", NETS)
def test_backward_through_a_score_leaves_parameters_alone(name: str) -> None:
    case = NETS[name]
    model = case.model()
    train = tuple(
        part.requires_grad_() if part.is_floating_point() else part for part in case.inputs(3)
    )
    score = GradCosScore(model, output_fn=case.output_fn)
    score(train, case.inputs(1, seed=2), 1, LABELS).sum().backward()
    assert all(part.grad is not None and bool(part.grad.any()) for part in train[:1])
    assert [key for key, weight in model.named_parameters() if weight.grad is not None] == []


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_float32_recurrent_nets_have_maps_too(name: str) -> None:
    # torch has other kernels for them in float32.
    case = NETS[name]
    exact, single = case.model(), case.model().float()
    train, test = case.inputs(2)[0], case.inputs(1, seed=2)[0]
    given = train.float().requires_grad_()
    (given_map,) = torch.autograd.grad(GradCosScore(single)(given, test.float(), 1, 0).sum(), given)
    train.requires_grad_()
    (right,) = torch.autograd.grad(SlowScore(exact)(train, test, 1, 0).sum(), train)
    assert relative_error(given_map.double(), right) < 1e-4

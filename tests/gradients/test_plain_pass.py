from __future__ import annotations

import torch
from torch import nn

from captum_tfa.gradients.plain_pass import plain_pass
from tests.oracle import NETS, model_state, relative_error


def test_outputs_and_gradients_are_those_of_the_model() -> None:
    for name in ("small cnn", "encoder", "lstm", "max pooling"):
        model, inputs = NETS[name].model(), NETS[name].inputs(3)
        parameters = list(model.parameters())
        before = model_state(model)
        with plain_pass(model) as twin:
            outputs = twin(*inputs)
        gradients = torch.autograd.grad(outputs.square().sum(), parameters, create_graph=True)
        again = torch.autograd.grad(sum(part.square().sum() for part in gradients), parameters)
        assert model_state(model) == before
        right = model(*inputs)
        assert relative_error(outputs, right) < 1e-12
        wanted = torch.autograd.grad(right.square().sum(), parameters)
        assert all(
            relative_error(one, other) < 1e-10 for one, other in zip(gradients, wanted, strict=True)
        )
        assert any(bool(part.any()) for part in again)


def test_hooks_of_the_user_do_not_fire() -> None:
    model, fired = nn.Sequential(nn.Linear(2, 2)), []
    model[0].register_forward_hook(lambda *_: fired.append(1))
    with plain_pass(model) as twin:
        twin(torch.ones(1, 2))
    assert not fired

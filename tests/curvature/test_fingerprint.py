from __future__ import annotations

import torch
from torch import Tensor, nn

from captum_tfa.curvature.fingerprint import loss_words, model_hash
from captum_tfa.gradients.losses import ExampleLosses
from tests.curvature.slow import CNN


def test_every_value_of_a_model_counts() -> None:
    model = CNN.model()
    first = model_hash(model)
    assert first == model_hash(CNN.model())
    with torch.no_grad():
        model[1].running_mean[0] += 1e-12
    assert model_hash(model) != first
    assert model_hash(CNN.model().float()) != first
    for precision in (torch.bfloat16, torch.float16):
        assert model_hash(CNN.model().to(precision))


def test_a_loss_is_told_by_its_settings() -> None:
    losses = [
        nn.CrossEntropyLoss(reduction="none"),
        nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="none", weight=torch.ones(3)),
        nn.CrossEntropyLoss(reduction="none", weight=torch.ones(3) / 2),
        nn.MSELoss(reduction="none"),
    ]
    words = [loss_words(ExampleLosses(loss)) for loss in losses]
    assert len(set(words)) == len(words)
    assert loss_words(ExampleLosses()) == words[0]


def one_logit(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs[:, 0]


def test_functions_are_told_by_their_names() -> None:
    words = loss_words(ExampleLosses(one_logit, one_logit))  # type: ignore[arg-type]
    name = f"{__name__}.one_logit"
    assert words == f"{name} of {name}"

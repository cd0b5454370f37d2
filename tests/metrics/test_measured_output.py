from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from captum_tfa.metrics.measured_output import MeasuredOutput

IMAGES = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)).double()
LABELS = torch.randint(0, 3, (300,), generator=torch.Generator().manual_seed(1))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3).double().eval()


def test_each_kind_is_its_formula() -> None:
    model = linear()
    found = {
        kind: MeasuredOutput(IMAGES, LABELS, kind)(model)
        for kind in ("margin", "log-softmax", "logit", "-loss")
    }
    for row in range(0, 300, 37):
        logits = [float(value) for value in model(IMAGES[row]).detach()]
        own = logits[LABELS[row]]
        p = math.exp(own) / sum(math.exp(value) for value in logits)
        assert float(found["logit"][row]) == pytest.approx(own)
        assert float(found["log-softmax"][row]) == pytest.approx(math.log(p))
        assert float(found["-loss"][row]) == pytest.approx(math.log(p))
        assert float(found["margin"][row]) == pytest.approx(math.log(p / (1 - p)))


@given(st.floats(30, 300))
def test_the_margin_does_not_saturate(sure: float) -> None:
    model = nn.Identity().eval()
    logits = torch.tensor([[sure, 0.0]], dtype=torch.double)
    found = MeasuredOutput(logits, torch.tensor([0]))(model)
    assert float(found) == pytest.approx(sure)


def test_a_loss_of_ones_own_and_other_outputs_are_taken() -> None:
    model = linear()
    targets = torch.rand(300, 3).double()
    loss = nn.MSELoss(reduction="none")
    found = MeasuredOutput(IMAGES, targets, "-loss", loss_fn=loss)(model)
    torch.testing.assert_close(found, -((model(IMAGES) - targets) ** 2).sum(1))

    class Boxed(nn.Module):
        def forward(self, x):
            return {"logits": model(x)}

    boxed = MeasuredOutput(IMAGES, LABELS, output_fn=lambda out: out["logits"])(Boxed().eval())
    assert torch.equal(boxed, MeasuredOutput(IMAGES, LABELS)(model))


def test_settings_tell_other_test_images_apart() -> None:
    mine = MeasuredOutput(IMAGES, LABELS).settings
    assert mine["output"] == "margin"
    assert mine["queries"] == 300
    assert mine == MeasuredOutput(IMAGES.clone(), LABELS).settings
    assert mine != MeasuredOutput(IMAGES + 1e-9, LABELS).settings
    assert mine != MeasuredOutput(IMAGES, (LABELS + 1) % 3).settings
    assert mine != MeasuredOutput(IMAGES, LABELS, "logit").settings


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MeasuredOutput(IMAGES, LABELS, "loss"), "kind is 'loss'; it must be one of"),
        (lambda: MeasuredOutput(IMAGES, LABELS[:2]), "300 test images and 2 labels"),
        (lambda: MeasuredOutput(IMAGES[:0], LABELS[:0]), "at least 1"),
        (
            lambda: MeasuredOutput(IMAGES, LABELS, loss_fn=nn.MSELoss(reduction="none")),
            "belongs to",
        ),
        (lambda: MeasuredOutput(IMAGES, LABELS)(nn.Linear(4, 1).double()), "at least 2 classes"),
        (lambda: MeasuredOutput(IMAGES, LABELS)(nn.Linear(4, 2).double()), "classes 0 to 1"),
        (lambda: MeasuredOutput(IMAGES, LABELS.double())(linear()), "class numbers"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

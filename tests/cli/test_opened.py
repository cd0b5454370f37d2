"""A model with its training images, as two commands are given them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from torch import nn

from captum_tfa.cli.errors import UserError
from captum_tfa.cli.opened import loss_of, opened
from tests.cli.conftest import Home


def test_a_model_is_ready_and_says_what_it_is(home: Home) -> None:
    options = argparse.Namespace(model=home.model, weights="weights.pt", index=None, ensemble=None)
    given = opened(options, torch.device("cpu"), Path("pets/train"), ["cat", "dog"])
    state = torch.load("weights.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in given.model.state_dict().items())
    assert not given.model.training
    assert given.training_set[0][0].shape == (3, 12, 12)
    assert given.index(options, None, "grad-cos") is None
    words = given.words("3 test images in there\n").splitlines()
    assert words[0] == "8 training images of 2 classes in pets/train: cat, dog"
    assert words[1] == "3 test images in there"
    assert words[-1].startswith("the model is right on ")
    options.index = "none"
    with pytest.raises(UserError, match="holds no index"):
        given.index(options, None, "grad-cos")


def test_one_logit_has_the_loss_of_two_classes() -> None:
    assert loss_of(one_logit=False) is None
    loss = loss_of(one_logit=True)
    assert isinstance(loss, nn.BCEWithLogitsLoss)
    assert loss.reduction == "none"

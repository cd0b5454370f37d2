"""Each way in which a retraining can go on from what it should not know is refused."""

from __future__ import annotations

import copy
import random

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from captum_tfa.metrics.fresh_start import Beginnings, weights_of
from tests.metrics.trainings import by_gradient, descend, two_classes

DATA = two_classes()
PART = Subset(DATA, list(range(6)))


def said(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(DATA.tensors[0]).flatten()


def trained() -> nn.Module:
    torch.manual_seed(5)
    return descend(nn.Linear(3, 2), DATA)


def test_a_model_made_inside_begins_at_the_weights_of_its_seed() -> None:
    beginnings = Beginnings(by_gradient)
    first = beginnings.check(DATA, 3, said)
    torch.manual_seed(3)
    assert first == weights_of(nn.Linear(3, 2))
    model, began = beginnings.run(PART, 3)
    assert began == first
    torch.manual_seed(3)
    assert torch.equal(said(model), said(descend(nn.Linear(3, 2), PART)))
    assert beginnings.run(PART, 4)[1] != first


def test_the_look_at_the_beginning_trains_nothing() -> None:
    steps = []

    def train(dataset, seed):
        model = nn.Linear(3, 2)
        model.register_forward_hook(lambda *_: steps.append(1))
        return descend(model, dataset)

    Beginnings(train).check(DATA, 0, said)
    assert steps == []


def test_a_model_that_is_kept_and_trained_on_is_refused() -> None:
    model = trained()
    with pytest.raises(ValueError, match="seeds 0 and 1 begin at the same weights"):
        Beginnings(lambda dataset, seed: descend(model, dataset)).check(DATA, 0, said)


def test_copies_of_a_trained_model_are_refused() -> None:
    model = trained()
    with pytest.raises(ValueError, match="a model that it did not make"):
        Beginnings(lambda dataset, seed: descend(copy.deepcopy(model), dataset)).check(
            DATA, 0, said
        )


def test_a_seed_of_its_own_is_refused() -> None:
    def train(dataset, seed):
        torch.manual_seed(0)
        return by_gradient(dataset, seed)

    with pytest.raises(ValueError, match="its own seed hides"):
        Beginnings(train).check(DATA, 7, said)


def test_a_model_that_is_kept_for_each_seed_is_refused_at_its_second_training() -> None:
    models: dict[int, nn.Module] = {}

    def train(dataset, seed):
        if seed not in models:
            models[seed] = nn.Linear(3, 2)
        return descend(models[seed], dataset)

    beginnings = Beginnings(train)
    beginnings.check(DATA, 0, said)
    beginnings.run(DATA, 0)
    with pytest.raises(ValueError, match="an earlier one ended with"):
        beginnings.run(PART, 0)


def test_chance_of_its_own_is_refused() -> None:
    own = torch.Generator()

    def train(dataset, seed):
        model = nn.Linear(3, 2)
        nn.init.normal_(model.weight, generator=own)
        return descend(model, dataset)

    with pytest.raises(ValueError, match="two trainings with seed 0 begin at different weights"):
        Beginnings(train).check(DATA, 0, said)


def test_weights_that_all_begin_at_zero_are_fresh() -> None:
    def train(dataset, seed):
        model = nn.Linear(3, 2)
        for parameter in model.parameters():
            nn.init.zeros_(parameter)
        return descend(model, dataset)

    beginnings = Beginnings(train)
    assert beginnings.check(DATA, 0, said) == ()
    for _ in range(2):
        beginnings.run(DATA, 0)


def test_a_wrapped_model_is_known_by_its_parameters() -> None:
    def train(dataset, seed):
        model = nn.Linear(3, 2)
        descend(nn.Sequential(model), dataset)
        return model.eval()

    assert Beginnings(train).check(DATA, 2, said) == Beginnings(by_gradient).check(DATA, 2, said)


def test_a_pretrained_body_with_a_new_head_is_fresh() -> None:
    body = nn.Linear(3, 3)

    def train(dataset, seed):
        return descend(nn.Sequential(copy.deepcopy(body), nn.Linear(3, 2)), dataset)

    beginnings = Beginnings(train)
    beginnings.check(DATA, 0, said)
    beginnings.run(DATA, 0)


class Kept:
    """A closed form, with a step from where it was."""

    def __init__(self, goes_on: bool) -> None:
        self.at, self.goes_on = torch.zeros(2, 3), goes_on

    def __call__(self, dataset, seed):
        x = torch.stack([row for row, _ in dataset])
        self.at = (0.5 * self.at if self.goes_on else 0) + x.mean(0).expand(2, 3)
        model = nn.Linear(3, 2)
        with torch.no_grad():
            model.weight.copy_(self.at)
        return model.eval()


def test_without_a_pass_to_look_at_two_trainings_must_agree() -> None:
    assert Beginnings(Kept(goes_on=False)).check(DATA, 0, said) is None
    with pytest.raises(ValueError, match="two trainings on the same data with the same seed"):
        Beginnings(Kept(goes_on=True)).check(DATA, 0, said)


def test_going_on_from_a_checkpoint_is_allowed_where_it_is_asked_for() -> None:
    checkpoint = trained()
    beginnings = Beginnings(
        lambda dataset, seed: descend(copy.deepcopy(checkpoint), dataset), checkpoint
    )
    assert beginnings.check(DATA, 0, said) == weights_of(checkpoint)
    beginnings.run(PART, 0)
    beginnings.run(PART, 0)
    with pytest.raises(ValueError, match="begins at other weights"):
        Beginnings(by_gradient, checkpoint).check(DATA, 0, said)
    with pytest.raises(ValueError, match="no training pass of a module was seen"):
        Beginnings(Kept(goes_on=False), checkpoint).check(DATA, 0, said)


def test_a_part_of_the_checkpoint_that_is_called_first_is_known() -> None:
    torch.manual_seed(0)
    checkpoint = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).eval()

    def go_on(dataset, seed):
        model = copy.deepcopy(checkpoint).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x, y = DATA.tensors
        nn.functional.cross_entropy(model[1](model[0](x)), y).backward()
        optimizer.step()
        return model.eval()

    Beginnings(go_on, checkpoint).check(DATA, 0, said)


def test_a_model_kept_from_a_checkpoint_is_refused_when_it_has_moved() -> None:
    checkpoint = trained()
    model = copy.deepcopy(checkpoint)
    beginnings = Beginnings(lambda dataset, seed: descend(model, dataset), checkpoint)
    beginnings.check(DATA, 0, said)
    beginnings.run(DATA, 0)
    with pytest.raises(ValueError, match="begins at other weights"):
        beginnings.run(DATA, 0)


@pytest.mark.parametrize("fails", [False, True])
def test_random_numbers_and_hooks_are_as_before(fails: bool) -> None:
    def train(dataset, seed):
        random.random(), numpy.random.rand(), torch.rand(1)
        if fails:
            raise RuntimeError("broken")
        return by_gradient(dataset, seed)

    def state():
        return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state()

    before = state()
    try:
        Beginnings(train).check(DATA, 0, said)
    except RuntimeError:
        assert fails
    after = state()
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_every_kind_of_random_number_is_seeded() -> None:
    drawn = []

    def train(dataset, seed):
        drawn.append((random.random(), numpy.random.rand(), float(torch.rand(1))))
        return nn.Linear(3, 2).eval()

    beginnings = Beginnings(train)
    for seed in (1, 1, 2):
        beginnings.run(DATA, seed)
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2], strict=True))


def test_a_bad_model_is_named() -> None:
    with pytest.raises(TypeError, match="gave back a NoneType"):
        Beginnings(lambda dataset, seed: None).run(DATA, 0)
    with pytest.raises(ValueError, match="in training mode"):
        Beginnings(lambda dataset, seed: nn.Linear(3, 2)).run(DATA, 0)

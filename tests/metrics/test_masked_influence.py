from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from captum_tfa import GradCosScore
from captum_tfa.metrics.masked_influence import masked_influence
from captum_tfa.metrics.sgd_step import loss_changes
from tests.metrics.pairs import tiny_net, tiny_pairs, tiny_saliency
from tests.oracle import SlowScore
from tests.oracle.model_state import model_state

COLOUR = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)


@pytest.mark.parametrize("remove", [False, True])
def test_both_numbers_are_those_of_hand_masked_images(remove: bool) -> None:
    net, pairs, saliency = tiny_net(), tiny_pairs(), tiny_saliency()
    fractions = (0.25, 0.5)
    found = masked_influence(
        net, *pairs, saliency, COLOUR, remove=remove, fractions=fractions, step_size=0.1
    )
    assert found.loss_changes is not None
    train, train_labels, test, test_labels = pairs
    for row, fraction in enumerate(fractions):
        images = train.clone()
        for image, values in zip(images, saliency, strict=True):
            limit = values.flatten().sort(descending=True).values[int(fraction * 64) - 1]
            outside = values >= limit if remove else values < limit
            image[:, outside] = COLOUR[:, None]
        expected = SlowScore(net)(images, test, test_labels, train_labels).detach()
        torch.testing.assert_close(found.scores[row], expected)
        torch.testing.assert_close(
            GradCosScore(net)(images, test, test_labels, train_labels).detach(), expected
        )
        changes = loss_changes(net, images, train_labels, test, test_labels, 0.1)
        torch.testing.assert_close(found.loss_changes[row], changes)
    whole = SlowScore(net)(train, test, test_labels, train_labels).detach()
    torch.testing.assert_close(found.whole_scores, whole)


@settings(deadline=None, max_examples=10)  # a busy machine is no failure
@given(st.integers(1, 7), st.booleans(), st.sampled_from([1, 2, 4]))
def test_results_do_not_depend_on_the_batch_size(batch: int, remove: bool, block: int) -> None:
    saliency = tiny_saliency().round()  # with many ties
    options: dict[str, Any] = {"remove": remove, "block": block, "fractions": (0.3, 0.6)}
    one = masked_influence(tiny_net(), *tiny_pairs(), saliency, COLOUR, **options)
    other = masked_influence(
        tiny_net(), *tiny_pairs(), saliency, COLOUR, batch_size=batch, **options
    )
    torch.testing.assert_close(one.scores, other.scores)
    torch.testing.assert_close(one.loss_changes, other.loss_changes)
    torch.testing.assert_close(one.whole_scores, other.whole_scores)


def test_the_ends_are_the_whole_image_and_the_baseline() -> None:
    net, (train, train_labels, test, test_labels) = tiny_net(), tiny_pairs()
    baseline = torch.randn_like(train)
    pairs = (train, train_labels, test, test_labels, tiny_saliency())
    kept = masked_influence(net, *pairs, baseline, fractions=(0, 1), step_size=None)
    removed = masked_influence(net, *pairs, baseline, fractions=(0, 1), step_size=None, remove=True)
    blank = GradCosScore(net)(baseline, test, test_labels, train_labels).detach()
    torch.testing.assert_close(kept.scores, torch.stack([blank, kept.whole_scores]))
    torch.testing.assert_close(removed.scores, torch.stack([kept.whole_scores, blank]))


def test_what_is_kept_here_is_removed_there() -> None:
    pairs, saliency = tiny_pairs(), tiny_saliency()
    kept = masked_influence(tiny_net(), *pairs, saliency, COLOUR, fractions=(0.25, 0.5, 0.75))
    removed = masked_influence(
        tiny_net(), *pairs, -saliency, COLOUR, fractions=(0.25, 0.5, 0.75), remove=True
    )
    torch.testing.assert_close(kept.scores, removed.scores.flip(0))
    torch.testing.assert_close(kept.loss_changes, removed.loss_changes.flip(0))


def test_a_baseline_image_for_all() -> None:
    pairs, saliency = tiny_pairs(), tiny_saliency()
    image = COLOUR[:, None, None].expand(3, 8, 8)
    one = masked_influence(tiny_net(), *pairs, saliency, image, fractions=(0.5,))
    other = masked_influence(tiny_net(), *pairs, saliency, COLOUR, fractions=(0.5,))
    assert torch.equal(one.scores, other.scores)


def test_without_a_step_there_are_only_scores() -> None:
    found = masked_influence(
        tiny_net(), *tiny_pairs(), tiny_saliency(), COLOUR, step_size=None, fractions=(0.5,)
    )
    assert found.loss_changes is None
    assert found.scores.shape == (1, 6)


def test_the_model_is_left_as_it_was_also_after_an_exception() -> None:
    net = tiny_net()
    before = model_state(net)
    masked_influence(net, *tiny_pairs(), tiny_saliency(), COLOUR, fractions=(0.5,))
    assert model_state(net) == before
    train, labels, test, _ = tiny_pairs()
    with pytest.raises(ValueError, match=r"Label \d was given"):
        masked_influence(net, train, labels, test, labels + 5, tiny_saliency(), COLOUR)
    assert model_state(net) == before


def test_models_in_training_mode_are_refused_before_anything_runs() -> None:
    net = tiny_net().train()
    before = model_state(net)
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        masked_influence(net, *tiny_pairs(), tiny_saliency(), COLOUR)
    assert model_state(net) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_images": torch.zeros(5, 3, 8, 8)}, "6 training images and 5 test images"),
        ({"saliency": torch.zeros(6, 3, 8, 8)}, r"it must be \[6, 8, 8\]"),
        ({"baseline": torch.zeros(2, 3, 8, 8)}, "baseline holds 2 images for 6 pairs"),
        ({"baseline": torch.zeros(2)}, r"baseline has the shape \[2\]"),
        ({"fractions": ()}, "at least one"),
        ({"fractions": (0.5, 0.2)}, "rising"),
        ({"fractions": (0.5, 1.2)}, r"each in \[0, 1\]"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"block": 3}, "block is 3"),
        ({"step_size": -1.0}, "step_size is -1.0"),
        ({"loss_fn": nn.CrossEntropyLoss()}, "reduction='none'"),
    ],
)
def test_bad_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    pairs = tiny_pairs()
    arguments: dict[str, Any] = {
        "train_images": pairs.train,
        "train_labels": pairs.train_labels,
        "test_images": pairs.test,
        "test_labels": pairs.test_labels,
        "saliency": tiny_saliency(),
        "baseline": COLOUR,
    }
    with pytest.raises(ValueError, match=message):
        masked_influence(tiny_net(), **{**arguments, **changes})

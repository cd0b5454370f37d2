"""The known answer: a classifier by class means, wrong only because of planted wrong labels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from captum_tfa import GradCosScore
from captum_tfa.metrics.error_correction import (
    Blanked,
    Correction,
    as_many_at_random,
    compare_corrections,
    count_corrections,
    error_correction,
    most_opposed,
    right_answers,
    share_mislabelled,
    without_examples,
)


def by_class_means(dataset: Dataset[tuple[Tensor, Tensor]]) -> nn.Module:
    """Logits ``x · mean of the class``: what training is, here."""
    examples = [dataset[index] for index in range(len(dataset))]  # type: ignore[arg-type]
    x = torch.stack([image for image, _ in examples])
    y = torch.tensor([int(label) for _, label in examples])
    model = nn.Linear(x.shape[1], 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.stack([x[y == label].mean(0) for label in (0, 1)]))
    return model.eval()


# Class 0 lies at −1, class 1 at +1. Five examples at +5 bear the label 0 and drag its mean over
# that of class 1, to 19 / 11: every answer becomes the wrong one.
POINTS = torch.tensor([-1.0] * 6 + [1.0] * 6 + [5.0] * 5).double()[:, None]
LABELS = torch.tensor([0] * 6 + [1] * 6 + [0] * 5)
WRONG = torch.arange(17) >= 12
MIX = torch.randperm(17, generator=torch.Generator().manual_seed(0))
TRAIN = TensorDataset(POINTS[MIX], LABELS[MIX])
MISLABELLED = WRONG[MIX]
TEST = TensorDataset(
    torch.tensor([[-0.5], [-2.0], [0.5], [0.7]]).double(), torch.tensor([0, 0, 1, 1])
)


def test_planted_wrong_labels_are_the_only_opponents() -> None:
    score = GradCosScore(by_class_means(TRAIN))
    found = most_opposed(score, TRAIN, *TEST.tensors, n=5)
    assert share_mislabelled(found.indices, MISLABELLED) == 1.0
    torch.testing.assert_close(found.scores, -torch.ones(5).double())
    everything = most_opposed(score, TRAIN, *TEST.tensors, n=17)
    torch.testing.assert_close(everything.scores[5:], torch.ones(12).double())


def test_an_opponent_knows_the_test_image_that_it_opposes_most() -> None:
    tests = torch.tensor([[0.1, 1.0], [1.0, 0.1]]).double()
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double()
    train = TensorDataset(x, torch.tensor([0, 0]))
    model = nn.Linear(2, 2, bias=False).double().eval()
    found = most_opposed(GradCosScore(model), train, tests, torch.tensor([1, 1]), n=2)
    # Opposite labels: the score is −cos(x, x').
    assert dict(zip(found.indices.tolist(), found.test_of.tolist(), strict=True)) == {0: 1, 1: 0}


def test_against_all_ranks_by_the_mean_and_against_any_by_the_lowest() -> None:
    # cos(x, x') for opposite labels: the first example opposes one test image fully and helps the
    # other a little, the second opposes both by half.
    tests = torch.tensor([[1.0, 0.0], [-0.5, 3**0.5 / 2]]).double()
    x = torch.tensor([[1.0, 0.0], [0.5, 3**0.5 / 2]]).double()
    train = TensorDataset(x, torch.tensor([0, 0]))
    score = GradCosScore(nn.Linear(2, 2, bias=False).double().eval())
    asked = (score, train, tests, torch.tensor([1, 1]), 2)
    everyone, anyone = most_opposed(*asked), most_opposed(*asked, against="any")
    assert everyone.indices.tolist() == [1, 0]
    torch.testing.assert_close(everyone.scores, torch.tensor([-0.5, -0.25]).double())
    assert anyone.indices.tolist() == [0, 1]
    torch.testing.assert_close(anyone.scores, torch.tensor([-1.0, -0.5]).double())


def test_without_them_all_answers_are_mended_and_without_others_none() -> None:
    model = by_class_means(TRAIN)
    opponents = most_opposed(GradCosScore(model), TRAIN, *TEST.tensors, n=5).indices
    innocent = (~MISLABELLED).nonzero().flatten()[:5]
    found = error_correction(
        model,
        {
            "opponents": without_examples(TRAIN, opponents),
            "innocent": without_examples(TRAIN, innocent),
        },
        by_class_means,
        {"asked": TEST},
    )
    assert found["opponents"]["asked"] == Correction(mended=4, broken=0, accuracy=1.0)
    assert found["innocent"]["asked"] == Correction(mended=0, broken=0, accuracy=0.0)


def test_a_model_that_does_worse_has_broken_answers() -> None:
    clean = without_examples(TRAIN, MISLABELLED.nonzero().flatten())
    found = error_correction(
        by_class_means(clean), {"noisy": TRAIN}, by_class_means, {"here": TEST, "there": TEST}
    )
    assert found == {"noisy": dict.fromkeys(["here", "there"], Correction(0, 4, 0.0))}


def test_answers_are_counted_by_what_became_of_them() -> None:
    before = torch.tensor([True, True, True, False, False])
    after = torch.tensor([True, False, True, True, False])
    assert count_corrections(before, after) == Correction(mended=1, broken=1, accuracy=0.6)


def test_right_answers_do_not_depend_on_the_batch() -> None:
    model = nn.Linear(3, 4).eval()
    x, y = torch.randn(600, 3), torch.randint(0, 4, (600,))
    assert torch.equal(right_answers(model, TensorDataset(x, y)), model(x).argmax(1) == y)


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=40).map(torch.tensor),
    data=st.data(),
)
def test_the_control_takes_as_many(labels: Tensor, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(labels)))
    chosen = torch.randperm(len(labels))[:n]
    anyone = as_many_at_random(chosen, len(labels), seed=3)
    alike = as_many_at_random(chosen, len(labels), labels, seed=3)
    assert len(anyone.unique()) == len(alike.unique()) == n
    assert labels[alike].sort().values.tolist() == labels[chosen].sort().values.tolist()
    assert torch.equal(anyone, as_many_at_random(chosen, len(labels), seed=3))
    assert torch.equal(alike, as_many_at_random(chosen, len(labels), labels, seed=3))


def test_every_example_may_be_drawn() -> None:
    draws = [as_many_at_random(torch.tensor([0, 1]), 6, seed=seed) for seed in range(100)]
    assert sorted(torch.cat(draws).unique().tolist()) == list(range(6))


def test_what_is_left_keeps_its_order() -> None:
    left = without_examples(TensorDataset(torch.arange(6)), torch.tensor([4, 0]))
    assert [int(value) for (value,) in left] == [1, 2, 3, 5]


def test_only_the_given_pixels_of_the_given_images_are_blanked() -> None:
    images, labels = torch.randn(4, 3, 2, 2), torch.tensor([5, 6, 7, 8])
    blank = torch.tensor([[[True, False], [False, False]], [[False, False], [True, True]]])
    colour = torch.tensor([0.1, 0.2, 0.3])
    changed = Blanked(TensorDataset(images, labels), torch.tensor([3, 1]), blank, colour)
    assert len(changed) == 4
    assert [int(changed[index][1]) for index in range(4)] == [5, 6, 7, 8]
    wanted = images.clone()
    wanted[3, :, 0, 0] = colour
    wanted[1, :, 1, :] = colour[:, None]
    assert torch.equal(torch.stack([changed[index][0] for index in range(4)]), wanted)


def test_blanking_the_planted_feature_mends_too() -> None:
    # Pixel 0 is what misleads: the last four images carry it with the wrong label 0.
    images = torch.zeros(8, 1, 1, 2).double()
    images[:2, ..., 1], images[2:4, ..., 1] = -1.0, 1.0
    images[4:, ..., 0] = 3.0
    labels = torch.tensor([0, 0, 1, 1, 0, 0, 0, 0])
    flat = by_class_means(TensorDataset(images.flatten(1), labels))
    test = torch.tensor([[1.0, 0.5]]).double()
    assert int(flat(test).argmax()) == 0
    blank = torch.tensor([True, False]).view(1, 1, 2).expand(4, 1, 2)
    blanked = Blanked(
        TensorDataset(images, labels), torch.arange(4, 8), blank, torch.zeros(1).double()
    )
    changed = TensorDataset(torch.stack([image.flatten() for image, _ in blanked]), labels)  # type: ignore[attr-defined]
    assert int(by_class_means(changed)(test).argmax()) == 1


def test_seeds_are_compared_in_pairs() -> None:
    treated = [Correction(5, 1, 0.9), Correction(7, 1, 0.8), Correction(6, 4, 0.7)]
    control = [Correction(3, 2, 0.8), Correction(3, 2, 0.8), Correction(3, 2, 0.8)]
    found = compare_corrections(treated, control)
    assert found.mended.mean == pytest.approx(3)
    half = 1.959964 * 1.0 / 3**0.5  # the deviation of 2, 4, 3 is 1
    assert (found.mended.low, found.mended.high) == pytest.approx((3 - half, 3 + half))
    assert found.mended.won == 1.0
    assert found.broken.won == pytest.approx(2 / 3)
    assert found.accuracy.mean == pytest.approx(0.0)
    assert found.accuracy.won == 0.5  # one won, one lost, one tied


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: most_opposed(GradCosScore(by_class_means(TRAIN)), TRAIN, *TEST.tensors, n=18),
            "n is 18; it must be from 1 to 17",
        ),
        (
            lambda: most_opposed(GradCosScore(by_class_means(TRAIN)), TRAIN, *TEST.tensors, n=0),
            "n is 0",
        ),
        (
            lambda: most_opposed(
                GradCosScore(by_class_means(TRAIN)), TRAIN, *TEST.tensors, n=1, against="each"
            ),
            "against is 'each'",
        ),
        (
            lambda: Blanked(TRAIN, torch.tensor([1, 1]), torch.ones(2, 1, 1) > 0, torch.zeros(1)),
            "got 2 indices, 1 of them different, and 2 masks",
        ),
        (
            lambda: Blanked(TRAIN, torch.tensor([1, 2]), torch.ones(1, 1, 1) > 0, torch.zeros(1)),
            "and 1 masks",
        ),
        (
            lambda: as_many_at_random(torch.arange(3), 9, torch.zeros(8)),
            "8 labels for 9 training examples",
        ),
        (lambda: as_many_at_random(torch.arange(3), 2), "got 3 indices and 2 labels for 2"),
        (lambda: count_corrections(torch.ones(3) > 0, torch.ones(2) > 0), "right_answers"),
        (lambda: count_corrections(torch.ones(2), torch.ones(2) > 0), "right_answers"),
        (lambda: share_mislabelled(torch.tensor([]).long(), MISLABELLED), "got 0 indices"),
        (lambda: share_mislabelled(torch.tensor([1]), MISLABELLED.int()), "torch.int32"),
        (lambda: compare_corrections([Correction(1, 1, 1.0)], []), r"treated has the shape \[1\]"),
        (
            lambda: error_correction(
                by_class_means(TRAIN), {"x": TRAIN}, lambda _: nn.Linear(1, 2), {"": TEST}
            ),
            "training mode",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

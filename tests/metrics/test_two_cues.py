"""The two-cue test on maps and rankings whose answer is known."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from captum_tfa.metrics import cue_auc, plant_twins, plant_two_cues, read_cues

RED = torch.zeros(3, 3, 3)
RED[0] = 1
BLUE = RED.flip(0)
CUES = (RED, BLUE)


def _pictures(count: int = 400) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 3, 12, 12) * 0.5, torch.arange(count) % 2


def test_cues_lie_where_the_masks_say_in_half_of_the_class_and_nowhere_else() -> None:
    images, labels = _pictures()
    before = images.clone()
    planted = plant_two_cues(images, labels, 1, CUES, seed=3)
    assert torch.equal(images, before)
    assert not planted.inside[labels == 0].any()
    assert torch.equal(planted.images[labels == 0], images[labels == 0])
    shares = planted.has[labels == 1].double().mean(0)
    assert ((shares - 0.5).abs() < 0.12).all()
    together = planted.has[labels == 1].all(1).double().mean()
    assert abs(float(together) - 0.25) < 0.1  # independently
    assert not planted.inside.all(1).any()  # never on top of each other
    for index in planted.both.tolist():
        for cue, picture in enumerate(CUES):
            mask = planted.inside[index, cue]
            assert int(mask.sum()) == 9
            assert torch.equal(planted.images[index][:, mask], picture.flatten(1))
        rest = ~planted.inside[index].any(0)
        assert torch.equal(planted.images[index][:, rest], images[index][:, rest])


def test_pixels_that_are_not_numbers_are_left_as_they_are() -> None:
    images, labels = _pictures()
    cue = RED.clone()
    cue[:, 1, 1] = torch.nan
    planted = plant_two_cues(images, labels, 1, (cue, BLUE))
    assert planted.images.isfinite().all()
    index = int(planted.has[:, 0].nonzero()[0])
    assert int(planted.inside[index, 0].sum()) == 8


def test_twins_differ_in_the_cue_alone_and_a_seed_repeats_them() -> None:
    images, labels = _pictures(20)
    of_a, of_b = plant_twins(images, labels, CUES, seed=1)
    assert torch.equal(of_a.inside[:, 0], of_b.inside[:, 1])
    assert not of_a.inside[:, 1].any()
    differ = (of_a.images != of_b.images).any(1)
    assert torch.equal(differ, of_a.inside[:, 0])
    again, _ = plant_twins(images, labels, CUES, seed=1)
    assert torch.equal(again.images, of_a.images)


def _both() -> Tensor:
    images, labels = _pictures()
    planted = plant_two_cues(images, labels, 1, CUES)
    return planted.inside[planted.both]


def test_a_perfect_map_lies_in_the_asked_cue() -> None:
    inside = _both()
    reading = read_cues(inside[:, 0].float(), inside[:, 1].float(), inside)
    assert tuple(reading.own_share) == (1, 1, 1)
    assert reading.moves_right.mean == reading.mass.mean == 1
    assert reading.area == pytest.approx(9 / 144)


def test_a_map_that_does_not_see_the_test_image_says_one_half() -> None:
    inside = _both()
    heat = torch.rand(len(inside), 12, 12)
    reading = read_cues(heat, heat, inside)
    assert reading.own_share.mean == pytest.approx(0.5)
    assert reading.moves_right.mean == 0.5
    assert reading.mass.mean == pytest.approx(9 / 144, rel=0.15)


def test_a_map_that_is_turned_round_is_wrong_every_time() -> None:
    inside = _both()
    reading = read_cues(inside[:, 1].float(), inside[:, 0].float(), inside)
    assert (reading.own_share.mean, reading.moves_right.mean, reading.mass.mean) == (0, 0, 0)


def test_readings_equal_a_slow_count() -> None:
    inside = _both()[:30]
    heats = torch.rand(2, 30, 12, 12, dtype=torch.float64)
    own, right, mass = [], [], []
    for index in range(30):
        parts = [[float(heat[index][inside[index, cue]].sum()) for cue in (0, 1)] for heat in heats]
        own.append((parts[0][0] / sum(parts[0]) + parts[1][1] / sum(parts[1])) / 2)
        right.append(float(parts[0][0] / sum(parts[0]) > parts[1][0] / sum(parts[1])))
        mass.append(
            sum(parts[asked][asked] / float(heats[asked, index].sum()) for asked in (0, 1)) / 2
        )
    reading = read_cues(heats[0], heats[1], inside)
    for found, slow in zip(reading.__dict__.values(), (own, right, mass), strict=False):
        assert found.mean == pytest.approx(sum(slow) / 30)


def test_without_heat_nothing_is_said() -> None:
    inside = _both()
    nothing = torch.zeros(len(inside), 12, 12)
    reading = read_cues(nothing, nothing, inside)
    assert (reading.own_share.mean, reading.moves_right.mean, reading.mass.mean) == (0.5, 0.5, 0)


def test_auc_equals_that_of_scikit_learn() -> None:
    scores = torch.randn(200).round(decimals=1)  # with ties
    has = torch.rand(200) < 0.3
    assert cue_auc(scores, has) == pytest.approx(roc_auc_score(has.numpy(), scores.numpy()))


def test_what_does_not_fit_is_refused() -> None:
    images, labels = _pictures(10)
    with pytest.raises(ValueError, match="at most half as high and wide"):
        plant_two_cues(images, labels, 1, (torch.zeros(3, 7, 3), torch.zeros(3, 7, 3)))
    with pytest.raises(ValueError, match="of one size"):
        plant_twins(images, labels, (RED, RED[:, :2]))
    with pytest.raises(ValueError, match="no image has the label 7"):
        plant_two_cues(images, labels, 7, CUES)
    inside = _both()
    heat = torch.rand(len(inside), 12, 12)
    with pytest.raises(ValueError, match=r"must be \[P, H, W\] and \[P, 2, H, W\]"):
        read_cues(heat[:, None], heat, inside)
    with pytest.raises(ValueError, match="positive part of a map"):
        read_cues(heat, -heat, inside)
    with pytest.raises(ValueError, match="all images carry the asked cue, or none does"):
        cue_auc(torch.randn(3), torch.ones(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"both are \[N\]"):
        cue_auc(torch.randn(3), torch.ones(2, dtype=torch.bool))

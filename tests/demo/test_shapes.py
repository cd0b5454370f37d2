from __future__ import annotations

import pytest
import torch

from captum_tfa.demo import make_shapes
from captum_tfa.demo.shapes import CLASSES, PATCH_COLOUR, SHORTCUT_CLASS
from captum_tfa.report import dataset_facts


def test_same_seed_same_pictures_and_the_global_random_state_stays() -> None:
    state = torch.get_rng_state()
    first, second = make_shapes(4, 2, seed=3), make_shapes(4, 2, seed=3)
    assert torch.equal(first.train.images, second.train.images)
    assert torch.equal(first.test.images, second.test.images)
    assert not torch.equal(first.train.images, make_shapes(4, 2, seed=4).train.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_class_has_as_many_pictures_as_asked_for() -> None:
    train, test = make_shapes(7, 3)
    assert torch.bincount(train.labels).tolist() == [7] * len(CLASSES)
    assert torch.bincount(test.labels).tolist() == [3] * len(CLASSES)
    assert train.classes == list(CLASSES)


def test_only_the_shortcut_class_carries_the_patch_and_only_in_training() -> None:
    train, test = make_shapes(200, 5, shortcut_rate=0.9)
    shortcut = train.labels == CLASSES.index(SHORTCUT_CLASS)
    assert not train.patched[~shortcut].any()
    assert 0.8 < float(train.patched[shortcut].float().mean()) < 1
    assert not test.patched.any()


def test_patched_tells_which_pictures_show_the_patch() -> None:
    train, _ = make_shapes(20, 1, patch_size=6)
    colour = torch.tensor(PATCH_COLOUR).view(3, 1)
    shown = (train.images[:, :, train.patch_region] == colour).all(dim=(1, 2))
    assert torch.equal(shown, train.patched)
    assert int(train.patch_region.sum()) == 36
    assert bool(train.patch_region[-6:, -6:].all())


def test_with_patch_changes_nothing_but_the_patch() -> None:
    _, test = make_shapes(1, 5)
    patched = test.with_patch()
    outside = ~test.patch_region
    assert patched.patched.all()
    assert torch.equal(patched.images[:, :, outside], test.images[:, :, outside])
    assert torch.equal(patched.labels, test.labels)
    assert not test.patched.any()


def test_a_picture_comes_normalised_with_its_label_and_can_be_shown_again() -> None:
    train, _ = make_shapes(2, 1, size=24, patch_size=5)
    image, label = train[3]
    assert image.shape == (3, 24, 24)
    assert isinstance(label, int)
    shown = dataset_facts.for_display(image, dataset_facts.normalisation(train))
    assert torch.allclose(shown, train.images[3], atol=1e-6)


def test_pictures_lie_between_0_and_1() -> None:
    train, _ = make_shapes(10, 1)
    assert 0 <= float(train.images.min()) < float(train.images.max()) <= 1


def test_shapes_cover_a_part_of_the_picture_and_stay_off_the_corner() -> None:
    size = 32
    axis = (torch.arange(size) + 0.5) / size
    from captum_tfa.demo.shapes import _outline

    y, x = torch.meshgrid(axis * 2 - 1, axis * 2 - 1, indexing="ij")
    labels = torch.arange(len(CLASSES))
    inside = _outline(labels, x.expand(4, -1, -1), y.expand(4, -1, -1)) > 0
    areas = inside.float().mean(dim=(1, 2)).tolist()
    named = dict(zip(CLASSES, areas, strict=True))
    assert named["circle"] == pytest.approx(torch.pi / 4, abs=0.03)
    assert named["square"] == pytest.approx(0.85**2, abs=0.05)
    assert 0.2 < named["triangle"] < 0.5
    assert 0.3 < named["cross"] < 0.7


@pytest.mark.parametrize(
    "bad",
    [
        {"train_per_class": 0},
        {"test_per_class": 0},
        {"size": 8},
        {"patch_size": 0},
        {"patch_size": 17},
        {"shortcut_rate": 1.5},
    ],
)
def test_numbers_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        make_shapes(**{"train_per_class": 1, "test_per_class": 1, **bad})  # type: ignore[arg-type]

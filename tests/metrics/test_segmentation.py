from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from captum_tfa.metrics.segmentation import (
    VOC_CLASSES,
    object_mask,
    segmentation_overlap,
    shown_classes,
    voc_segmentation,
    void_mask,
)
from tests.voc_tree import make_voc

DOG, PERSON = VOC_CLASSES.index("dog"), VOC_CLASSES.index("person")


def test_a_perfect_map_gets_one() -> None:
    masks = torch.rand(3, 6, 7) > 0.6
    maps = (masks + 0.5 * torch.rand(3, 6, 7)).unsqueeze(1)
    found = segmentation_overlap(maps, masks)
    assert found.iou.tolist() == found.average_precision.tolist() == [1, 1, 1]
    torch.testing.assert_close(found.chance, masks.double().mean((1, 2)))


def test_a_map_that_avoids_the_object_gets_nothing() -> None:
    masks = torch.zeros(1, 2, 5, dtype=torch.bool)
    masks[0, 0, :2] = True
    found = segmentation_overlap((~masks).float().unsqueeze(1), masks)
    assert found.iou.item() == found.share.item() == 0
    assert found.average_precision.item() == pytest.approx(0.2)  # both come last: 2 of 10


def test_hand_made_case() -> None:
    maps = torch.tensor([[[[9.0, 7.0, 5.0], [3.0, 1.0, -4.0]]]])
    masks = torch.tensor([[[True, False, True], [False, False, True]]])
    found = segmentation_overlap(maps, masks)
    assert found.iou.item() == pytest.approx(2 / 4)  # the top 3 hold 2 of 3
    assert found.average_precision.item() == pytest.approx((1 / 1 + 2 / 3 + 3 / 6) / 3)
    assert found.share.item() == pytest.approx(14 / 25)
    assert found.chance.item() == 0.5


def test_channels_are_summed_with_their_signs() -> None:
    maps = torch.randn(2, 3, 5, 5)
    masks = torch.rand(2, 5, 5) > 0.5
    together, summed = (segmentation_overlap(m, masks) for m in (maps, maps.sum(1, keepdim=True)))
    for name in ("iou", "average_precision", "share"):
        torch.testing.assert_close(
            getattr(together, name), getattr(summed, name), rtol=1e-5, atol=1e-6
        )


def iou_by_counting(values: torch.Tensor, inside: torch.Tensor) -> float:
    """Sets of pixel numbers; values must differ."""
    top = set(values.argsort(descending=True)[: int(inside.sum())].tolist())
    object_ = set(inside.nonzero().flatten().tolist())
    return len(top & object_) / len(top | object_)


@settings(deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), levels=st.sampled_from([2, 5, 10_000]))
def test_average_precision_and_iou_agree_with_scikit_learn_and_sets(
    height: int, width: int, levels: int
) -> None:
    masks = torch.rand(3, height, width) > 0.5
    masks[:, 0, 0] = True
    void = torch.rand(3, height, width) > 0.8
    void[:, 0, 0] = False
    maps = torch.randint(-levels, levels, (3, 1, height, width)).double()
    found = segmentation_overlap(maps, masks, void)
    for index in range(3):
        counts = ~void[index]
        values, inside = maps[index, 0][counts], masks[index][counts]
        expected = average_precision_score(inside.numpy(), values.numpy())
        assert found.average_precision[index].item() == pytest.approx(expected)
        if len(values.unique()) == len(values):
            assert found.iou[index].item() == pytest.approx(iou_by_counting(values, inside))


def test_a_flat_map_is_at_chance() -> None:
    masks = torch.zeros(2, 4, 5, dtype=torch.bool)
    masks[0, 0], masks[1, :, 0] = True, True
    found = segmentation_overlap(torch.zeros(2, 3, 4, 5), masks)
    for values in (found.average_precision, found.share, found.chance):
        assert values.tolist() == pytest.approx([0.25, 0.2])
    # As many hits as chance gives: a quarter of 5 places, a fifth of 4.
    assert found.iou.tolist() == pytest.approx([1.25 / (10 - 1.25), 0.8 / (8 - 0.8)])


def test_void_pixels_count_for_nothing() -> None:
    masks, void = torch.rand(4, 6, 6) > 0.5, torch.rand(4, 6, 6) > 0.7
    masks[:, 0, 0], void[:, 0, 0] = True, False
    maps = torch.randn(4, 2, 6, 6)
    elsewhere = torch.where(void.unsqueeze(1), 100 * torch.randn(4, 2, 6, 6), maps)
    first, second = (
        segmentation_overlap(values, masks ^ flip, void)
        for values, flip in ((maps, torch.zeros_like(void)), (elsewhere, void))
    )
    for name in ("iou", "average_precision", "share", "chance"):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_no_maps_give_no_values() -> None:
    found = segmentation_overlap(torch.zeros(0, 3, 4, 4), torch.zeros(0, 4, 4, dtype=torch.bool))
    assert len(found.iou) == len(found.chance) == 0


@pytest.mark.parametrize(
    ("maps", "masks", "void", "message"),
    [
        (torch.zeros(3, 4, 4), torch.ones(3, 4, 4) > 0, None, r"maps must be \[B, C, H, W\]"),
        (torch.zeros(3, 1, 4, 4), torch.ones(3, 4, 4), None, "masks is torch.float32"),
        (torch.zeros(3, 1, 4, 4), torch.ones(3, 4, 5) > 0, None, r"shape \[3, 4, 5\]"),
        (torch.zeros(3, 1, 4, 4), torch.ones(3, 4, 4) > 0, torch.ones(4, 4) > 0, "void is"),
        (torch.zeros(3, 1, 4, 4), torch.zeros(3, 4, 4) > 0, None, "mask 0 has no pixel"),
        (torch.full((1, 1, 2, 2), torch.nan), torch.ones(1, 2, 2) > 0, None, "NaN or infinity"),
    ],
)
def test_bad_arguments_are_named(
    maps: torch.Tensor, masks: torch.Tensor, void: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        segmentation_overlap(maps, masks, void)


def mask(height: int, width: int) -> torch.Tensor:
    """A dog left, a person right, a void rim between them, background above."""
    classes = torch.zeros(height, width, dtype=torch.long)
    classes[height // 2 :] = 255
    classes[height // 2 :, : width // 2 - 2] = DOG + 1
    classes[height // 2 :, width // 2 + 2 :] = PERSON + 1
    return classes


def test_voc_is_read_by_torchvision(tmp_path: Path) -> None:
    make_voc(tmp_path, {"train": {"2007_000001": mask(32, 32)}, "val": {"2007_000002": mask(8, 8)}})
    for split, side in (("train", 32), ("val", 8)):
        dataset = voc_segmentation(tmp_path, split, side=side)
        assert len(dataset) == 1
        image, classes = dataset[0]
        assert image.shape == (3, side, side)
        assert 0 <= image.min() < image.max() <= 1
        assert torch.equal(classes, mask(side, side))


def test_masks_keep_their_numbers_and_their_place_when_resized(tmp_path: Path) -> None:
    make_voc(tmp_path, {"val": {"a": mask(32, 48)}})
    image, classes = voc_segmentation(tmp_path, side=16)[0]
    assert image.shape == (3, 16, 16)
    assert set(classes.unique().tolist()) == {0, DOG + 1, PERSON + 1, 255}
    middle = mask(32, 48)[:, 8:40]  # a crop of 16 of 24 columns
    assert (classes == middle[1::2, 1::2]).float().mean() > 0.9
    # The picture was cut alike: pixels of one class are alike, and unlike those of the other.
    dog, person = (image[:, object_mask(classes, label)] for label in (DOG, PERSON))
    assert (dog.mean(1) - person.mean(1)).abs().max() > 4 * max(dog.std(1).min(), 0.01)


def test_classes_and_void_of_a_mask() -> None:
    classes = mask(8, 12)
    assert shown_classes(classes) == [DOG, PERSON]
    assert object_mask(classes, DOG).sum() == 16
    assert void_mask(classes).sum() == 16
    assert not (object_mask(classes, DOG) & void_mask(classes)).any()
    assert len(VOC_CLASSES) == 20


@pytest.mark.parametrize("label", [-1, 20, 255])
def test_background_and_void_are_no_class(label: int) -> None:
    with pytest.raises(ValueError, match=f"label is {label}; it must be an index into VOC_CLASSES"):
        object_mask(mask(8, 8), label)


def test_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="download=True"):
        voc_segmentation(tmp_path)

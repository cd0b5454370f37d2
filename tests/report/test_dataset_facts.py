from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Subset
from torchvision.transforms import Compose, Normalize, Resize, ToTensor, v2
from torchvision.transforms._presets import ImageClassification

from captum_tfa.report.dataset_facts import class_names, file_of, for_display, normalisation

MEAN, STD = [0.5, 0.25, 0.125], [0.5, 1.0, 2.0]


class Facts:
    """Only what a data set tells about itself."""

    def __init__(self, **facts: Any) -> None:
        self.__dict__.update(facts)


@pytest.mark.parametrize(
    "transform",
    [
        Normalize(MEAN, STD),
        Compose([Resize(8), ToTensor(), Normalize(MEAN, STD)]),
        Compose([ToTensor(), Compose([Normalize(MEAN, STD)])]),
        nn.Sequential(Resize(8), Normalize(MEAN, STD)),
        v2.Compose([v2.ToImage(), v2.Normalize(MEAN, STD)]),
        ImageClassification(crop_size=8, mean=tuple(MEAN), std=tuple(STD)),
        Normalize(torch.tensor(MEAN), torch.tensor(STD)),
    ],
)
def test_normalisation_is_found_in_every_common_form(transform: Any) -> None:
    data = Facts(transform=transform)
    assert normalisation(data) == (MEAN, STD)
    assert normalisation(Subset(Subset(data, [0, 1]), [1])) == (MEAN, STD)  # type: ignore[arg-type]


@pytest.mark.parametrize("transform", [None, ToTensor(), Compose([]), lambda image: image])
def test_no_normalisation_is_none(transform: Any) -> None:
    assert normalisation(Facts(transform=transform)) is None
    assert normalisation(Facts()) is None


def test_classes_and_files_are_found_through_subsets() -> None:
    data = Facts(classes=("a", "b"), samples=[("0.png", 0), ("1.png", 1), ("2.png", 0)])
    subset: Any = Subset(Subset(data, [2, 0, 1]), [2, 0])  # type: ignore[arg-type]
    assert class_names(subset) == ["a", "b"]
    assert [file_of(subset, index) for index in (0, 1)] == ["1.png", "2.png"]
    assert file_of(data, 1) == "1.png"


def test_what_a_data_set_does_not_tell_is_none() -> None:
    assert class_names(Facts()) is None
    assert class_names(Facts(classes="ab")) is None
    assert file_of(Facts(), 0) is None
    assert file_of(Facts(samples=[3]), 0) is None
    assert file_of(Facts(samples=[]), 0) is None


def test_display_undoes_the_normalisation() -> None:
    plain = torch.rand(3, 4, 4)
    shown = for_display(Normalize(MEAN, STD)(plain), (MEAN, STD))
    assert torch.allclose(shown, plain, atol=1e-6)


def test_display_without_statistics_keeps_what_can_be_shown_and_stretches_the_rest() -> None:
    plain = 0.2 + 0.5 * torch.rand(3, 4, 4)
    assert torch.equal(for_display(plain, None), plain)
    shown = for_display(plain * 7 - 3, None)
    assert float(shown.min()) == 0
    assert float(shown.max()) == pytest.approx(1)


def test_a_flat_image_outside_the_range_can_be_shown() -> None:
    assert bool(for_display(torch.full((3, 4, 4), 9.0), None).isfinite().all())


def test_statistics_of_other_images_are_not_used() -> None:
    grey = torch.rand(1, 4, 4)
    assert torch.equal(for_display(grey, (MEAN, STD)), grey)
    assert torch.allclose(for_display(grey, ([0.0], [1.0])), grey)

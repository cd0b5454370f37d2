from __future__ import annotations

import pytest
import torch

from captum_tfa import validate
from captum_tfa.demo import SmallCNN


@pytest.mark.parametrize(("classes", "side"), [(2, 32), (4, 64), (10, 17)])
def test_gives_logits_for_any_number_of_classes_and_size(classes: int, side: int) -> None:
    logits = SmallCNN(classes).eval()(torch.randn(3, 3, side, side))
    assert logits.shape == (3, classes)


def test_is_light_and_can_be_explained() -> None:
    model = SmallCNN(10).eval()
    validate(model)
    assert sum(parameter.numel() for parameter in model.parameters()) < 130_000


def test_one_class_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        SmallCNN(1)


def test_a_part_of_the_network_is_a_sequence_of_its_layers() -> None:
    model = SmallCNN(4).eval()
    images = torch.randn(2, 3, 16, 16)
    features = model[:-1](images)
    assert features.shape == (2, 80)
    torch.testing.assert_close(model[-1](features), model(images))
    assert model[2] is list(model)[2]

"""The tutorial on VOC, on a tree of a few pictures in VOC's own structure."""

from __future__ import annotations

from pathlib import Path

import torch

from captum_tfa.metrics.segmentation import VOC_CLASSES
from tests.tutorials.running import run_tutorial
from tests.voc_tree import make_voc

DOG, PERSON, CAT = (VOC_CLASSES.index(name) for name in ("dog", "person", "cat"))


def picture(*labels: int) -> torch.Tensor:
    """One band a class, with a rim of void and background below."""
    mask = torch.zeros(32, 32, dtype=torch.long)
    for band, label in enumerate(labels):
        mask[:20, 16 * band : 16 * band + 14] = label + 1
        mask[:20, 16 * band + 14 : 16 * band + 16] = 255
    return mask


def test_maps_of_photographs_of_two_classes_are_held_against_the_masks(tmp_path: Path) -> None:
    make_voc(
        tmp_path,
        {
            "train": {
                **{f"both_{number}": picture(DOG, PERSON) for number in range(3)},
                "alone": picture(DOG),
                "not_in_val": picture(DOG, CAT),  # no test photograph shows a cat alone
            },
            "val": {"dog": picture(DOG), "person": picture(PERSON), "two": picture(CAT, DOG)},
        },
    )
    seen = run_tutorial(
        "voc_dependence",
        data=tmp_path,
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        network="small_cnn",
        side=32,
        epochs=1,
        batch_size=2,
        noise_copies=2,
    )
    _, label = seen["train"][0]
    assert label.nonzero().flatten().tolist() == sorted((DOG, PERSON))
    assert [place for place, _, _ in seen["pairs"]] == [0, 1, 2]
    assert {label: len(images) for label, images in seen["alone"].items()} == {
        DOG: 1,
        PERSON: 1,
        CAT: 0,
    }
    for (method, _), found in seen["found"].items():  # share, chance, movement, precision, IoU
        assert found.shape == (3, 5)
        assert ((found[:, [0, 3, 4]] >= 0) & (found[:, [0, 3, 4]] <= 1)).all()
        void_free = 32 * 32 - 2 * 20 * 2
        torch.testing.assert_close(found[:, 1], torch.full((3,), 280 / void_free).double())
        if method == "own classes":
            assert found[:, 2].abs().max() < 1e-9
    assert (tmp_path / "out" / "voc_dependence.md").is_file()

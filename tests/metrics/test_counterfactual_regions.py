"""The known answer: a patch is planted in one class, so covering it must lower that logit."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from captum_tfa.metrics.counterfactual_regions import (
    WHOLE,
    counterfactual_regions,
    read_counterfactual_regions,
)
from captum_tfa.metrics.measured_output import MeasuredOutput
from tests.metrics.trainings import descend

# Images of 1 x 2 x 2: class 1 carries the patch at (0, 0); what tells both classes apart without
# it lies at (1, 1), and is absent from the queries. The rest is noise.
_generator = torch.Generator().manual_seed(0)
IMAGES = 0.1 * torch.randn(20, 1, 2, 2, generator=_generator)
LABELS = torch.arange(20) % 2
IMAGES[:, 0, 0, 0] = LABELS.float()
IMAGES[:, 0, 1, 1] = 2 * LABELS.float() - 1
DATA = TensorDataset(IMAGES, LABELS)
QUERIES = torch.zeros(2, 1, 2, 2)
QUERIES[:, 0, 0, 0] = torch.tensor([1.0, 0.8])
MEASURE = MeasuredOutput(QUERIES, torch.tensor([1, 1]), "logit")
FILL = torch.zeros(1)
TOPS = (1, 4, 10)
PROPONENTS = torch.stack([torch.arange(1, 20, 2), torch.arange(1, 20, 2).flip(0)])
CUE = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).expand(2, 10, 2, 2)
ELSEWHERE = CUE.flip(3)


def network() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))


def train(dataset: Dataset, seed: int) -> nn.Module:
    return descend(network(), dataset, steps=6)


def measured(directory: Path, **options):
    asked = {
        "train": train,
        "dataset": DATA,
        "images": PROPONENTS,
        "saliencies": {"map": CUE, "elsewhere": ELSEWHERE},
        "fill": FILL,
        "measure": MEASURE,
        "directory": directory,
        "tops": TOPS,
        "fraction": 0.25,
        "seeds": (0, 1),
    }
    return counterfactual_regions(**{**asked, **options})


def slowly(query: int, top: int, pixel: tuple[int, int] | None, seed: int) -> float:
    """One effect, in the plainest way."""

    def logit(data: Dataset) -> Tensor:
        torch.manual_seed(seed)
        return MEASURE(train(data, seed))[query]

    rows = PROPONENTS[query, :top]
    images = IMAGES.clone()
    if pixel is None:
        kept = torch.ones(20, dtype=torch.bool)
        kept[rows] = False
        changed = TensorDataset(images[kept], LABELS[kept])
    else:
        images[rows, 0, pixel[0], pixel[1]] = 0.0
        changed = TensorDataset(images, LABELS)
    return float(logit(changed) - logit(DATA))


def test_every_effect_is_that_of_the_plainest_way(tmp_path: Path) -> None:
    found = measured(tmp_path)
    pixels = {"map": (0, 0), "elsewhere": (0, 1), WHOLE: None}
    assert set(found.choosers) == set(pixels)
    assert found.tops == TOPS
    assert found.effects.shape == (3, 3, 2, 2)
    for row, chooser in enumerate(found.choosers):
        for column, top in enumerate(TOPS):
            for query in range(2):
                for seed in (0, 1):
                    wanted = slowly(query, top, pixels[chooser], seed)
                    got = float(found.effects[row, column, query, seed])
                    assert got == pytest.approx(wanted, abs=1e-6)


def test_covering_the_planted_patch_lowers_the_logit_and_covering_elsewhere_does_not(
    tmp_path: Path,
) -> None:
    found = measured(tmp_path)
    effects = [found.effect("map", top).mean for top in TOPS]
    assert effects[2] < effects[1] < effects[0] < 0
    assert found.effect("map", 10).high < 0
    assert abs(found.effect("elsewhere", 10).mean) < 0.1 * abs(effects[2])
    gap = found.gap("map", "elsewhere", 10)
    assert gap.mean == pytest.approx(effects[2] - found.effect("elsewhere", 10).mean)
    assert gap.high < 0
    assert gap.won == 1.0


def test_a_killed_run_makes_a_table_and_goes_on(tmp_path: Path) -> None:
    done = 0

    def killed(dataset: Dataset, seed: int) -> nn.Module:
        nonlocal done
        done += 1
        if done > 3 + 9:  # three looks at the beginning, then models
            raise KeyboardInterrupt
        return train(dataset, seed)

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, train=killed)
    partial = read_counterfactual_regions(tmp_path)
    assert int((~partial.effects.isnan()).sum()) == 8  # the ninth is of the unchanged data
    known = partial.effect(partial.choosers[0], 1)
    whole = measured(tmp_path)
    assert not whole.effects.isnan().any()
    assert known.mean == pytest.approx(
        float(whole.effects[whole.choosers.index(partial.choosers[0]), 0, 0, 0])
    )
    fresh = measured(tmp_path / "fresh")
    order = [fresh.choosers.index(name) for name in whole.choosers]
    torch.testing.assert_close(whole.effects, fresh.effects[order])


def test_going_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoint = train(DATA, 0)

    def go_on(dataset: Dataset, seed: int) -> nn.Module:
        return descend(copy.deepcopy(checkpoint), dataset)

    found = measured(tmp_path, train=go_on, start=checkpoint)
    assert found.effect("map", 10).high < 0
    before = float(MEASURE(checkpoint)[0])
    assert float(found.unchanged[0, 0]) > before  # more training makes it surer still


def test_other_masks_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    measured(tmp_path, seeds=(0,))
    with pytest.raises(ValueError, match="with other covered"):
        measured(tmp_path, seeds=(0,), fraction=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": PROPONENTS[0]}, r"give indices .* \[Q, n\]"),
        ({"images": PROPONENTS.double()}, "torch.float64"),
        ({"saliencies": {}}, r"\(none\)"),
        ({"saliencies": {WHOLE: CUE}}, "removes the images"),
        ({"saliencies": {"map": CUE[:, :3]}}, r"give \[Q, n, H, W\]"),
        ({"tops": ()}, r"tops is \[\]"),
        ({"tops": (4, 1)}, "numbers that rise"),
        ({"tops": (1, 11)}, "within 1 to 10"),
        ({"measure": lambda model: torch.ones(3)}, "3 numbers for 2 queries"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measured(tmp_path, **options)


def test_a_question_that_was_not_asked_is_refused(tmp_path: Path) -> None:
    found = measured(tmp_path, tops=(1,), seeds=(0,))
    with pytest.raises(ValueError, match="'middle' with top 1 was not asked for"):
        found.effect("middle", 1)
    with pytest.raises(ValueError, match="with top 7 was not asked for"):
        found.gap("map", "elsewhere", 7)

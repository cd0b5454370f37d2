from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_tfa.metrics.controls import centre_weighted, random_saliency
from captum_tfa.metrics.masked_influence import MaskedInfluence, masked_influence
from captum_tfa.metrics.perturbation import (
    PerturbationTest,
    area_under_curve,
    deletion_test,
    insertion_test,
)
from tests.metrics.pairs import tiny_net, tiny_pairs, tiny_saliency

COLOUR = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
BOTH = pytest.mark.parametrize("test", [insertion_test, deletion_test])


@BOTH
def test_at_the_whole_image_the_gap_is_exactly_zero(test: Any) -> None:
    found = test(tiny_net(), *tiny_pairs(), tiny_saliency(), COLOUR, fractions=(0.3, 1.0))
    assert found.loss_gap(1).mean == found.score_gap(1).mean == 0.0
    assert found.loss_gap(1).won == found.score_gap(1).won == 0.5
    assert found.loss_gap(0).mean != 0.0


@BOTH
def test_loss_changes_are_those_of_a_slow_loop(test: Any) -> None:
    net, pairs, saliency = tiny_net(), tiny_pairs(), tiny_saliency()
    found = test(net, *pairs, saliency, COLOUR, fractions=(0.25,), step_size=0.2)
    remove = test is deletion_test
    for chooser, side in ((saliency, found.of_map), (random_saliency(pairs.train), None)):
        expected = []
        for row, (train, label, image, image_label) in enumerate(zip(*pairs, strict=True)):
            order = chooser[row].flatten().argsort(descending=True)
            chosen = torch.zeros(64, dtype=torch.bool)
            chosen[order[:16]] = True
            gone = chosen if remove else ~chosen
            train = train.clone()
            train[:, gone.view(8, 8)] = COLOUR[:, None]
            own = copy.deepcopy(net)
            optimizer = torch.optim.SGD(own.parameters(), lr=0.2)
            before = nn.functional.cross_entropy(own(image[None]), image_label[None]).item()
            nn.functional.cross_entropy(own(train[None]), label[None]).backward()
            optimizer.step()
            after = nn.functional.cross_entropy(own(image[None]), image_label[None]).item()
            expected.append(after - before)
        measured = (found.of_control if side is None else side).loss_changes[0]
        torch.testing.assert_close(measured, torch.tensor(expected, dtype=torch.float64))


def linear_case() -> tuple[nn.Module, tuple[Tensor, ...], Tensor]:
    """A linear model: ``w·x − y`` is missed, grad-dot is ``4 e e' x·x'``, all by the pixel."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False)).double().eval()
    train, test = torch.rand(2, 40, 1, 4, 4, dtype=torch.float64).unbind()
    labels = torch.full((40, 1), 9.0).double()  # far off: every miss is below 0
    pairs = (train, labels, test, labels)
    return model, pairs, (train * test)[:, 0]  # what each pixel adds to x·x'


@pytest.mark.parametrize("fraction", [0.25, 0.5])
def test_the_true_parts_of_a_linear_model_win_every_pair(fraction: float) -> None:
    model, pairs, parts = linear_case()
    options: dict[str, Any] = {
        "fractions": (fraction,),
        "loss_fn": nn.MSELoss(reduction="none"),
        "step_size": 1e-4,
    }
    nothing = torch.zeros(1, dtype=torch.float64)
    inserted = insertion_test(model, *pairs, parts, nothing, **options)
    assert inserted.loss_gap(0).high < 0
    assert inserted.loss_gap(0).won > 0.95
    deleted = deletion_test(model, *pairs, parts, nothing, **options)
    assert deleted.loss_gap(0).low > 0
    assert deleted.loss_gap(0).won > 0.95


def test_opponents_are_measured_by_the_influence_they_have() -> None:
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)

    def side(left: float) -> MaskedInfluence:
        scores = (left * sign).expand(2, 4)
        return MaskedInfluence((0.5, 1.0), False, -scores, scores, sign)

    found = PerturbationTest(side(0.8), side(0.3))
    assert found.score_gap(0).mean == pytest.approx(0.5)
    assert found.loss_gap(0).mean == pytest.approx(-0.5)
    assert found.score_area().mean == pytest.approx(0.5)
    assert found.loss_area().mean == pytest.approx(-0.5)
    assert found.score_gap(0).won == found.loss_gap(0).won == 1.0
    assert found.score_area().won == found.loss_area().won == 1.0


def test_a_deletion_is_won_by_leaving_less() -> None:
    whole = torch.ones(3)

    def side(left: float) -> MaskedInfluence:
        scores = torch.full((1, 3), left)
        return MaskedInfluence((0.5,), True, -scores, scores, whole)

    found = PerturbationTest(side(0.1), side(0.6))
    assert found.score_gap(0).won == found.loss_gap(0).won == 1.0
    assert found.score_gap(0).mean < 0 < found.loss_gap(0).mean


def test_a_control_of_ones_own() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    centre = centre_weighted(pairs.train)
    found = insertion_test(net, *pairs, tiny_saliency(), COLOUR, control=centre, fractions=(0.5,))
    direct = masked_influence(net, *pairs, centre, COLOUR, fractions=(0.5,))
    assert torch.equal(found.of_control.scores, direct.scores)


def test_the_seed_decides_on_the_random_control() -> None:
    def control(seed: int) -> Tensor:
        found = insertion_test(
            tiny_net(), *tiny_pairs(), tiny_saliency(), COLOUR, fractions=(0.5,), seed=seed
        )
        return found.of_control.scores

    assert torch.equal(control(1), control(1))
    assert not torch.equal(control(1), control(2))


def test_the_area_is_that_of_trapezoids_over_the_width() -> None:
    values = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 4.0]])
    # widths 0.2 and 0.3: (2 · 0.2 + 2.5 · 0.3) / 0.5 and (0 + 2 · 0.3) / 0.5
    torch.testing.assert_close(area_under_curve((0.1, 0.3, 0.6), values), torch.tensor([2.3, 1.2]))


def test_the_area_of_a_level_line_is_its_height() -> None:
    torch.testing.assert_close(
        area_under_curve((0.1, 0.2, 0.7), torch.full((3, 5), 0.4)), torch.full((5,), 0.4)
    )


def test_an_area_needs_two_fractions() -> None:
    found = insertion_test(tiny_net(), *tiny_pairs(), tiny_saliency(), COLOUR, fractions=(0.5,))
    with pytest.raises(ValueError, match="at least 2 fractions"):
        found.score_area()
    with pytest.raises(ValueError, match="2 fractions and 3 rows"):
        area_under_curve((0.1, 0.2), torch.zeros(3, 4))


def test_sides_that_do_not_belong_together_are_refused() -> None:
    net, pairs, saliency = tiny_net(), tiny_pairs(), tiny_saliency()
    one = masked_influence(net, *pairs, saliency, COLOUR, fractions=(0.5,))
    removed = masked_influence(net, *pairs, saliency, COLOUR, fractions=(0.5,), remove=True)
    elsewhere = masked_influence(net, *pairs, saliency, COLOUR, fractions=(0.4,))
    for other in (removed, elsewhere):
        with pytest.raises(ValueError, match="measure both in the same way"):
            PerturbationTest(one, other)


def test_without_a_step_there_is_no_loss_gap() -> None:
    one = masked_influence(
        tiny_net(), *tiny_pairs(), tiny_saliency(), COLOUR, fractions=(0.5, 1), step_size=None
    )
    found = PerturbationTest(one, one)
    assert found.score_gap(0).mean == 0.0
    with pytest.raises(ValueError, match="no SGD step was taken"):
        found.loss_gap(0)
    with pytest.raises(ValueError, match="no SGD step was taken"):
        found.loss_area()

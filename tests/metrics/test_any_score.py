"""Metrics of any score, against a slow one that is not symmetric: influence in a dense metric."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import EnsembleScore, GradCosScore, GradDotScore, InfluenceScore, TracInScore
from captum_tfa.metrics import deletion_test, insertion_test, patch_attribution
from captum_tfa.metrics.masked_influence import masked_influence
from captum_tfa.metrics.masking import masked, top_mask
from captum_tfa.metrics.sgd_step import loss_changes
from captum_tfa.metrics.shortcuts import corner_square
from captum_tfa.scores import Score, norm_held
from tests.metrics.pairs import TinyPairs, tiny_net, tiny_pairs, tiny_saliency
from tests.oracle import SlowScore, dot

COLOUR = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
FRACTIONS = (0.25, 0.5, 1.0)


class Dense:
    """A dense positive definite ``H⁻¹`` in the place of a fitted curvature."""

    def __init__(self, model: nn.Module) -> None:
        self.shapes = {name: tensor.shape for name, tensor in model.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        count = sum(self.sizes)
        root = torch.randn(count, count, generator=torch.Generator().manual_seed(5)).double()
        self.matrix = root @ root.T / count + 0.1 * torch.eye(count).double()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.shapes)

    def solve(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        flat = torch.cat([vectors[name].flatten(1) for name in self.shapes], 1)
        parts = (flat @ self.matrix).split(self.sizes, 1)
        named = zip(self.shapes.items(), parts, strict=True)
        return {name: part.view(-1, *shape) for (name, shape), part in named}


def slow_influence(net: nn.Module, metric: Dense, images: Tensor, pairs: TinyPairs) -> Tensor:
    """``⟨g_train, M g_test⟩ / (‖g_train‖ ‖M g_test‖)`` of each pair, one example at a time."""
    slow = SlowScore(net)

    def flat(image: Tensor, label: Tensor) -> Tensor:
        return torch.cat([part.flatten() for part in slow.gradient((image,), label)]).detach()

    scores = []
    for row in range(len(images)):
        train = flat(images[[row]], pairs.train_labels[[row]])
        test = metric.matrix @ flat(pairs.test[[row]], pairs.test_labels[[row]])
        scores.append(train @ test / (train.norm() * test.norm()))
    return torch.stack(scores)


def by_hand(fraction: float, remove: bool) -> Tensor:
    top = top_mask(tiny_saliency(), fraction)
    return masked(tiny_pairs().train, ~top if remove else top, COLOUR)


@pytest.mark.parametrize("remove", [False, True])
def test_a_score_that_is_not_symmetric_is_measured_as_by_hand(remove: bool) -> None:
    net, pairs = tiny_net(), tiny_pairs()
    metric = Dense(net)
    score = InfluenceScore(net, metric)
    assert not score.symmetric
    found = masked_influence(
        net, *pairs, tiny_saliency(), COLOUR, remove=remove, fractions=FRACTIONS, score=score
    )
    torch.testing.assert_close(found.whole_scores, slow_influence(net, metric, pairs.train, pairs))
    for row, fraction in enumerate(FRACTIONS):
        expected = slow_influence(net, metric, by_hand(fraction, remove), pairs)
        torch.testing.assert_close(found.scores[row], expected)
    plain = masked_influence(
        net, *pairs, tiny_saliency(), COLOUR, remove=remove, fractions=FRACTIONS
    )
    torch.testing.assert_close(found.loss_changes, plain.loss_changes)  # the step is the same
    assert not torch.allclose(found.scores, plain.scores)


@pytest.mark.parametrize("test_of", [insertion_test, deletion_test])
def test_tests_hand_the_score_on_to_both_sides(test_of: type) -> None:
    net, pairs = tiny_net(), tiny_pairs()
    score = InfluenceScore(net, Dense(net))
    options = {"fractions": FRACTIONS, "score": score, "seed": 2}
    found = test_of(net, *pairs, tiny_saliency(), COLOUR, **options)
    remove = test_of is deletion_test
    alone = masked_influence(net, *pairs, tiny_saliency(), COLOUR, remove=remove, **options)
    torch.testing.assert_close(found.of_map.scores, alone.scores)
    torch.testing.assert_close(found.of_control.whole_scores, alone.whole_scores)
    assert found.score_gap(2).mean == pytest.approx(0, abs=1e-12)


def test_a_sum_over_checkpoints_is_the_weighted_sum_of_its_parts() -> None:
    net, other, pairs = tiny_net(), tiny_net(), tiny_pairs()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3)
    score = TracInScore(net, [net.state_dict(), other.state_dict()], [0.5, 2.0])
    options = {"fractions": FRACTIONS, "step_size": None}
    found = masked_influence(net, *pairs, tiny_saliency(), COLOUR, score=score, **options)
    for row, fraction in enumerate(FRACTIONS):
        parts = [
            SlowScore(model, formula=dot)(
                by_hand(fraction, False), pairs.test, pairs.test_labels, pairs.train_labels
            ).detach()
            for model in (net, other)
        ]
        torch.testing.assert_close(found.scores[row], 0.5 * parts[0] + 2 * parts[1])


def test_a_mean_over_models_is_scored_and_takes_no_step() -> None:
    net, other, pairs = tiny_net(), tiny_net(), tiny_pairs()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3)
    score = EnsembleScore([GradCosScore(net), GradCosScore(other)])
    given = (net, *pairs, tiny_saliency(), COLOUR)
    found = masked_influence(*given, fractions=FRACTIONS, step_size=None, score=score)
    sides = (by_hand(0.5, False), pairs.test, pairs.test_labels, pairs.train_labels)
    expected = (SlowScore(net)(*sides) + SlowScore(other)(*sides)).detach() / 2
    torch.testing.assert_close(found.scores[1], expected)
    example, test = (pairs.train[:1], pairs.train_labels[:1]), (pairs.test[:1], torch.tensor([0]))
    for several in (score, norm_held(score, example, test)):
        with pytest.raises(ValueError, match="mean over several models, and a step of training"):
            masked_influence(*given, fractions=FRACTIONS, score=several)


def test_the_step_and_what_it_is_measured_by_are_the_scores_own() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    loss = nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1)
    score = GradDotScore(net, loss, measure_fn="margin")
    found = masked_influence(
        net, *pairs, tiny_saliency(), COLOUR, fractions=(1.0,), step_size=1e-6, score=score
    )
    expected = loss_changes(net, *pairs, 1e-6, loss, measure_fn="margin")
    assert found.loss_changes is not None
    torch.testing.assert_close(found.loss_changes[0], expected)
    # To first order it is minus the score times the step.
    torch.testing.assert_close(expected / -1e-6, found.whole_scores, rtol=1e-4, atol=1e-6)


def test_opponents_are_those_of_the_score() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    metric = Dense(net)
    data = TensorDataset(pairs.train, pairs.train_labels)
    found = patch_attribution(
        net,
        data,
        pairs.test[:1],
        pairs.test_labels[:1],
        corner_square(8, 8, 3),
        lambda images, *_: {"one": torch.ones(len(images), 8, 8)},
        k=6,
        score=InfluenceScore(net, metric),
    )
    for_one = pairs._replace(
        test=pairs.test[:1].expand(6, -1, -1, -1), test_labels=pairs.test_labels[:1].expand(6)
    )
    expected = slow_influence(net, metric, pairs.train, for_one)
    assert found.opponents[0].tolist() == expected.argsort().tolist()
    torch.testing.assert_close(found.scores[0], expected.sort().values)


@pytest.mark.parametrize(
    ("score", "error", "message"),
    [
        (lambda net: "influence", TypeError, "score is a str"),
        (lambda net: GradCosScore(tiny_net()), ValueError, "score belongs to another model"),
    ],
)
def test_what_is_no_score_of_the_model_is_refused(
    score: type, error: type[Exception], message: str
) -> None:
    net, pairs = tiny_net(), tiny_pairs()
    with pytest.raises(error, match=message):
        insertion_test(net, *pairs, tiny_saliency(), COLOUR, score=score(net))
    with pytest.raises(error, match=message):
        patch_attribution(
            net,
            TensorDataset(pairs.train, pairs.train_labels),
            pairs.test[:1],
            pairs.test_labels[:1],
            corner_square(8, 8, 3),
            lambda *_: {},
            score=score(net),
        )


def test_a_loss_beside_a_score_is_refused() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    given: Score = GradCosScore(net)
    with pytest.raises(ValueError, match="loss_fn and score are given"):
        insertion_test(
            net, *pairs, tiny_saliency(), COLOUR, score=given, loss_fn=nn.CrossEntropyLoss()
        )

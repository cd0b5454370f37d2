from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import GradDotScore, ScoreInfluence
from captum_tfa.metrics.tail_patch import tail_patch

X = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)).double()
Y = torch.randint(0, 3, (20,), generator=torch.Generator().manual_seed(1))
TRAIN = TensorDataset(X, Y)
TESTS = torch.randn(4, 5, generator=torch.Generator().manual_seed(2)).double()
LABELS = torch.tensor([0, 1, 2, 1])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double().eval()


def scores() -> torch.Tensor:
    return ScoreInfluence(GradDotScore(network()), TRAIN).influence((TESTS, LABELS))


def test_each_change_is_that_of_one_real_step() -> None:
    found = tail_patch(network(), TRAIN, TESTS, LABELS, scores(), k=3, step_size=0.05)
    for query in range(4):
        for rows, changes in (
            (found.proponents, found.changes),
            (found.random, found.random_changes),
        ):
            for row, change in zip(rows[query].tolist(), changes[query], strict=True):
                model = network()
                before = model(TESTS[query]).softmax(0)[LABELS[query]]
                optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
                nn.functional.cross_entropy(model(X[row : row + 1]), Y[row : row + 1]).backward()
                optimizer.step()
                after = model(TESTS[query]).softmax(0)[LABELS[query]]
                torch.testing.assert_close(change, (after - before).detach())


def test_proponents_are_the_top_scores_and_teach_more_than_random_examples() -> None:
    ranked = scores()
    found = tail_patch(network(), TRAIN, TESTS, LABELS, ranked, k=3)
    assert torch.equal(found.proponents, ranked.topk(3).indices)
    assert all(len(set(row.tolist())) == 3 for row in found.random)
    assert (found.changes > 0).all()
    gap = found.gap()
    assert gap.won == 1.0
    assert gap.pairs == 4
    assert gap.mean == pytest.approx(
        float((found.changes.mean(1) - found.random_changes.mean(1)).mean())
    )
    opponents = tail_patch(network(), TRAIN, TESTS, LABELS, -ranked, k=3)
    assert (opponents.changes < 0).all()


def test_the_model_keeps_its_weights() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    tail_patch(model, TRAIN, TESTS, LABELS, scores(), k=2, step_size=10.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scores": torch.ones(4, 19)}, r"give finite \[4, 20\]"),
        ({"scores": torch.full((4, 20), torch.inf)}, "not finite"),
        ({"k": 0}, "k is 0; it must be from 1 to 20"),
        ({"k": 21}, "k is 21"),
        ({"step_size": 0.0}, "step_size is 0.0"),
    ],
)
def test_bad_arguments_are_named(options, message: str) -> None:
    asked = {"scores": scores(), "k": 2, **options}
    with pytest.raises(ValueError, match=message):
        tail_patch(network(), TRAIN, TESTS, LABELS, **asked)

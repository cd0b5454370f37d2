"""What scores say of labels, against the slow way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa import GradDotScore, GradientIndex, TrakInfluence
from common.kept_scores import Asked
from common.score_family import family, made, weights_of
from common.suspicions import over_queries, suspicions_of

generator = torch.Generator().manual_seed(0)


def data(count: int) -> TensorDataset:
    images = torch.randn(count, 4, generator=generator)
    return TensorDataset(images, torch.randint(0, 3, (count,), generator=generator))


ASKED = Asked(data(40), data(6), data(5))


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def test_self_influence_with_weights_is_the_weighted_sum_of_squares(tmp_path: Path) -> None:
    model = network()
    score, names = made("gradients", model, [], ASKED.train, 40)
    weights = family("gradients", score, names, *ASKED)[weights_of("grad-dot")]
    found = suspicions_of("gradients", model, [], ASKED, 8, tmp_path)
    for row in range(0, 40, 11):
        x, y = (tensor[row : row + 1] for tensor in ASKED.train.tensors)
        loss = nn.functional.cross_entropy(model(x), y)
        squares = [(g**2).sum() for g in torch.autograd.grad(loss, list(model.parameters()))]
        layers = torch.stack([squares[0] + squares[1], squares[2] + squares[3]])
        plain, weighted = "self-influence, grad-dot", "self-influence, grad-dot, learned weights"
        torch.testing.assert_close(found[plain][row], layers.sum())
        torch.testing.assert_close(found[weighted][row], layers @ weights)
    assert "self-influence, grad-cos" not in found  # it is 1 by definition


def test_self_influence_of_trak_is_its_score_for_itself(tmp_path: Path) -> None:
    model = network()
    found = suspicions_of("TRAK", model, [], ASKED, 8, tmp_path)
    score = GradDotScore(model, loss_fn="margin")
    index = GradientIndex.open(tmp_path)
    whole = TrakInfluence(score, index).influence(ASKED.train.tensors)
    torch.testing.assert_close(
        found["self-influence, TRAK"], whole.diagonal(), rtol=1e-2, atol=1e-2
    )
    asked = TrakInfluence(score, index).influence(ASKED.queries.tensors)
    torch.testing.assert_close(found["−mean TRAK"], -asked.mean(0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["EK-FAC (kronfluence)", "TRAK (traker)", "ekfac"])
def test_the_others_give_a_number_an_example(kind: str, tmp_path: Path) -> None:
    for package in ("kronfluence", "trak"):
        pytest.importorskip(package)
    found = suspicions_of(kind, network(), [], ASKED, 16, tmp_path)
    assert {tuple(values.shape) for values in found.values()} == {(40,)}
    assert any(name.startswith("self-influence") for name in found) == ("TRAK" not in kind)
    assert any(name.startswith("−lowest") for name in found)


def test_over_queries() -> None:
    found = over_queries("some", torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
    assert found["−mean some"].tolist() == [-2.0, -1.0]
    assert found["−lowest some"].tolist() == [-1.0, 2.0]

"""The known answer: what ridge regression loses without one of its points, in closed form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from captum_tfa.metrics.datamodelling import linear_datamodelling_score
from captum_tfa.metrics.leaving_out import leaving_out
from captum_tfa.metrics.subsets import Retrained, leave_groups_out, retrain_subsets

DAMPING = 0.3
X = torch.randn(15, 4, generator=torch.Generator().manual_seed(0)).double()
Y = torch.randn(15, generator=torch.Generator().manual_seed(1)).double()
QUERY = torch.randn(6, 4, generator=torch.Generator().manual_seed(2)).double()


def ridge(dataset: Dataset, seed: int) -> nn.Module:
    """Minimises ``Σ (x·w − y)² + λ ‖w‖²`` exactly."""
    rows = [dataset[index] for index in range(len(dataset))]
    x, y = torch.stack([x for x, _ in rows]), torch.stack([y for _, y in rows])
    model = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        solution = torch.linalg.solve(x.T @ x + DAMPING * torch.eye(4).double(), x.T @ y)
        model.weight.copy_(solution[None])
    return model.eval()


def predictions(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(QUERY)[:, 0]


def exact() -> Tensor:
    """``x_qᵀ A⁻¹ x_i r_i / (1 − h_i)``: the change of each prediction, ``[N, Q]``."""
    inverse = (X.T @ X + DAMPING * torch.eye(4).double()).inverse()
    residuals = Y - X @ inverse @ X.T @ Y
    leverage = torch.einsum("ij,jk,ik->i", X, inverse, X)
    return (QUERY @ inverse @ X.T * (residuals / (1 - leverage))).T


def test_leaving_one_out_of_a_ridge_regression_is_its_closed_form(tmp_path: Path) -> None:
    members = leave_groups_out(15, torch.arange(15).split(1))
    retrained = retrain_subsets(ridge, TensorDataset(X, Y), members, predictions, tmp_path)
    found = leaving_out(retrained)
    index = found.groups.int().argmax(1)
    assert sorted(index.tolist()) == list(range(15))
    torch.testing.assert_close(found.effects, exact()[index])
    assert linear_datamodelling_score(exact().T, retrained).mean == pytest.approx(1)


def test_leaving_a_group_out_is_training_without_it(tmp_path: Path) -> None:
    groups = [torch.tensor([0, 3, 7]), torch.tensor([1])]
    members = leave_groups_out(15, groups)
    found = leaving_out(retrain_subsets(ridge, TensorDataset(X, Y), members, predictions, tmp_path))
    everything = predictions(ridge(TensorDataset(X, Y), 0))
    for group, effect in zip(found.groups, found.effects, strict=True):
        rest = predictions(ridge(TensorDataset(X[~group], Y[~group]), 0))
        torch.testing.assert_close(effect, everything - rest)


def test_seeds_are_compared_with_themselves() -> None:
    members = leave_groups_out(3, [torch.tensor([0])]).repeat_interleave(3, 0)
    outputs = torch.tensor([[1.0], [10.0], [100.0], [0.0], [8.0], [97.0]])
    found = leaving_out(Retrained(members, torch.tensor([0, 1, 2] * 2), outputs))
    assert found.effects.tolist() == [[2.0]]  # of 1, 2, 3
    assert float(found.errors) == pytest.approx(1 / 3**0.5)
    assert found.seeds.tolist() == [3]


def test_what_is_there_already_makes_a_table() -> None:
    members = leave_groups_out(3, [torch.tensor([0]), torch.tensor([1])])
    rows = members[[0, 1, 2, 1]]  # seed 1 has no model of everything yet
    outputs = torch.tensor([[1.0], [0.0], [3.0], [9.0]])
    found = leaving_out(Retrained(rows, torch.tensor([0, 0, 0, 1]), outputs))
    effects = dict(zip(found.groups.int().argmax(1).tolist(), found.effects[:, 0], strict=True))
    assert effects == {0: 1.0, 1: -2.0}
    assert found.errors.isnan().all()


def test_without_a_model_of_everything_there_is_no_effect() -> None:
    retrained = Retrained(
        leave_groups_out(3, [torch.tensor([0])])[1:], torch.zeros(1), torch.ones(1, 2)
    )
    with pytest.raises(ValueError, match="0 of 1 models were trained on everything"):
        leaving_out(retrained)

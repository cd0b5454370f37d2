"""The paper's toy example (appendix A), exact: ridge regression with one informative example.

Training points ``i < n`` lie on the first axis, ``x_i = (a_i, 0)``, with ``y_i = 0``; the last is
``x_n = (0, b)`` with ``y_n = b``. With ``Φ = XᵀX + λI`` the fitted model is ``f(x) = xᵀ Φ⁻¹ Xᵀ y``.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from captum.attr import InputXGradient
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa import GradDotScore, ScoreInfluence, TrainingGradDot

# The points on the first axis are fitted perfectly, or their labels are zero.
pytestmark = pytest.mark.filterwarnings("ignore::captum_tfa.ZeroGradientWarning")

numbers = st.floats(0.1, 3) | st.floats(-3, -0.1)


@dataclass(frozen=True)
class Ridge:
    """The toy example's data and its fitted model."""

    a: list[float]
    b: float
    ridge: float

    @property
    def inputs(self) -> Tensor:
        first_axis = [[a, 0.0] for a in self.a]
        return torch.tensor([*first_axis, [0.0, self.b]], dtype=torch.float64)

    @property
    def labels(self) -> Tensor:
        return torch.tensor([[0.0]] * len(self.a) + [[self.b]], dtype=torch.float64)

    @property
    def inverse(self) -> Tensor:
        """``Φ⁻¹``."""
        ridge = self.ridge * torch.eye(2, dtype=torch.float64)
        return torch.linalg.inv(self.inputs.T @ self.inputs + ridge)

    def model(self) -> nn.Module:
        """``f``, which is linear."""
        model = nn.Linear(2, 1, bias=False).double().eval()
        with torch.no_grad():
            model.weight.copy_((self.inverse @ self.inputs.T @ self.labels).T)
        return model


ridges = st.builds(
    Ridge, a=st.lists(numbers, min_size=1, max_size=5), b=numbers, ridge=st.floats(0.1, 2)
)
toys = settings(deadline=None, max_examples=25)


def _product(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss whose gradient is ``y x``: under it grad-dot is an inner product of the data."""
    return (outputs * targets).sum(1)


def _point(c: float) -> Tensor:
    return torch.tensor([[0.0, c]], dtype=torch.float64)


@toys
@given(toy=ridges, point=st.tuples(numbers, numbers), c=numbers)
def test_representer_decomposition(toy: Ridge, point: tuple[float, float], c: float) -> None:
    """``T_i(x) = y_i x_iᵀ Φ⁻¹ x`` are scores, and their sum is the prediction."""
    score = GradDotScore(toy.model(), _product)
    x, one = torch.tensor([point], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)

    def shares(x: Tensor) -> Tensor:
        return score(toy.inputs, x @ toy.inverse, one, toy.labels).detach()

    torch.testing.assert_close(shares(x).sum(), toy.model()(x)[0, 0].detach())
    on_second_axis = shares(_point(c))
    assert on_second_axis[:-1].tolist() == [0] * len(toy.a)
    expected = toy.b * toy.b * c / (toy.b**2 + toy.ridge)
    assert float(on_second_axis[-1]) == pytest.approx(expected, rel=1e-12)


@toys
@given(toy=ridges, point=st.tuples(numbers, numbers), c=numbers)
def test_feature_decomposition(toy: Ridge, point: tuple[float, float], c: float) -> None:
    """``T_ij(x) = y_i x_ij (Φ⁻¹ x)_j`` is the score's gradient times the input."""
    score = GradDotScore(toy.model(), _product)
    one = torch.ones(1, 1, dtype=torch.float64)

    def shares(x: Tensor) -> Tensor:
        side = x @ toy.inverse, one, toy.labels
        return InputXGradient(score).attribute(toy.inputs, additional_forward_args=side).detach()

    x = torch.tensor([point], dtype=torch.float64)
    torch.testing.assert_close(shares(x), toy.labels * toy.inputs * (x @ toy.inverse))
    totals = score(toy.inputs, x @ toy.inverse, one, toy.labels).detach()
    torch.testing.assert_close(shares(x).sum(1), totals)
    on_second_axis = shares(_point(c))
    assert on_second_axis.nonzero().tolist() == [[len(toy.a), 1]]
    expected = toy.b * toy.b * c / (toy.b**2 + toy.ridge)
    assert float(on_second_axis[-1, 1]) == pytest.approx(expected, rel=1e-12)


@toys
@given(toy=ridges, c=numbers)
def test_grad_dot_map_puts_all_its_mass_on_feature_2_of_the_informative_example(
    toy: Ridge, c: float
) -> None:
    """With residuals ``r``, ``M_n = 4 r(x) (x_nᵀx w + r_n x)``; the test label is the truth."""
    tfa = TrainingGradDot(toy.model(), nn.MSELoss(reduction="none"))
    test_side = _point(c), torch.tensor([[c]], dtype=torch.float64)
    maps = tfa.attribute(toy.inputs, toy.labels, test_side)
    assert isinstance(maps, Tensor)
    assert maps.nonzero().tolist() == [[len(toy.a), 1]]
    weight = toy.b**2 / (toy.b**2 + toy.ridge)
    expected = 4 * (weight * c - c) * (toy.b * c * weight + (weight * toy.b - toy.b) * c)
    assert float(maps[-1, 1]) == pytest.approx(expected, rel=1e-9)


@toys
@given(toy=ridges, c=numbers)
def test_ranking_puts_all_influence_on_the_informative_example(toy: Ridge, c: float) -> None:
    """``S_n = 4 r_n r(x) b c``, and everybody else's score is zero."""
    score = GradDotScore(toy.model(), nn.MSELoss(reduction="none"))
    examples = list(zip(toy.inputs, toy.labels, strict=True))
    test_side = _point(c), torch.tensor([[c]], dtype=torch.float64)
    scores = ScoreInfluence(score, examples, batch_size=2).influence(test_side)
    assert isinstance(scores, Tensor)
    assert scores[0, :-1].tolist() == [0] * len(toy.a)
    shrunk = -toy.ridge / (toy.b**2 + toy.ridge)
    expected = 4 * (shrunk * toy.b) * (shrunk * c) * toy.b * c
    assert float(scores[0, -1]) == pytest.approx(expected, rel=1e-9)

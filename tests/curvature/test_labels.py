from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import fit_curvature
from captum_tfa.curvature.labels import label_sampler
from captum_tfa.gradients.losses import ExampleLosses
from tests.curvature.slow import MLP, dataset, inverse

COUNT = 20_000


def drawn(loss_fn: nn.Module, outputs: torch.Tensor) -> torch.Tensor:
    """Labels of many examples with the same outputs."""
    seeds = torch.randint(2**32, (COUNT,), generator=torch.Generator().manual_seed(0))
    many = outputs.expand(COUNT, *outputs.shape)
    return label_sampler(ExampleLosses(loss_fn))(many, seeds)


def test_classes_are_as_frequent_as_they_are_likely() -> None:
    logits = torch.tensor([[1.0, -1.0], [0.0, 2.0], [-30.0, 0.5]])  # three classes, two places
    for loss_fn, outputs in (
        (nn.CrossEntropyLoss(reduction="none"), logits),
        (nn.NLLLoss(reduction="none"), logits.log_softmax(0)),
    ):
        labels = drawn(loss_fn, outputs)
        assert labels.shape == (COUNT, 2)
        shares = torch.stack([(labels == each).double().mean(0) for each in range(3)])
        assert float((shares - logits.softmax(0)).abs().max()) < 0.015
        assert float((labels[:, 0] - labels[:, 0].double().mean()).double().mean()) < 0.01


def test_several_labels_are_drawn_one_by_one() -> None:
    logits = torch.tensor([-2.0, 0.0, 3.0])
    labels = drawn(nn.BCEWithLogitsLoss(reduction="none"), logits)
    assert float((labels.mean(0) - logits.sigmoid()).abs().max()) < 0.015
    assert float((torch.corrcoef(labels.T) - torch.eye(3)).abs().max()) < 0.03


def test_numbers_are_drawn_around_the_output_with_half_a_variance() -> None:
    labels = drawn(nn.MSELoss(reduction="none"), torch.tensor([1.0, -4.0]))
    assert float((labels.mean(0) - torch.tensor([1.0, -4.0])).abs().max()) < 0.02
    assert float((torch.cov(labels.T) - 0.5 * torch.eye(2)).abs().max()) < 0.02


@pytest.mark.parametrize("kind", ["ekfac", "diagonal", "fisher", "kfac"])
def test_same_seed_same_labels_whatever_the_batch(kind: str) -> None:
    model, data = MLP.model(), dataset(MLP, 9)
    one, same, other = (
        inverse(fit_curvature(model, data, kind=kind, batch_size=size, seed=seed), model)
        for size, seed in ((2, 0), (9, 0), (9, 1))
    )
    torch.testing.assert_close(one, same, rtol=1e-8, atol=1e-8)
    assert float((one - other).norm() / one.norm()) > 0.01


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="none", weight=torch.ones(5).double()),
        nn.CrossEntropyLoss(reduction="none", ignore_index=1),
        nn.BCEWithLogitsLoss(reduction="none", pos_weight=torch.ones(5).double()),
        nn.L1Loss(reduction="none"),
        lambda outputs, targets: outputs.sum(1),
    ],
)
def test_losses_that_are_no_likelihood_are_refused(loss_fn: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"not known to be.*Use labels='true'"):
        fit_curvature(MLP.model(), dataset(MLP, 3), loss_fn=loss_fn)


def test_outputs_that_are_no_logarithms_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not sum to 1 .*nn\.LogSoftmax"):
        fit_curvature(MLP.model(), dataset(MLP, 3), loss_fn=nn.NLLLoss(reduction="none"))


def test_true_labels_suit_any_loss() -> None:
    model = MLP.model()
    data = TensorDataset(dataset(MLP, 3).tensors[0], torch.rand(3, 5, dtype=torch.float64))
    loss_fn = nn.L1Loss(reduction="none")
    assert fit_curvature(model, data, labels="true", loss_fn=loss_fn).absolute_damping > 0

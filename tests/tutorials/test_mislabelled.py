from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset

from captum_tfa.metrics import mislabel_detection
from common.mislabelled import detection_rows, suspicions, with_wrong_labels


def data() -> TensorDataset:
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    return TensorDataset(x, (x[:, 0] > 0).long())


def test_exactly_the_marked_labels_are_wrong() -> None:
    noisy, wrong = with_wrong_labels(data(), 2, 0.25, seed=3)
    assert int(wrong.sum()) == 10
    assert torch.equal(noisy.tensors[1] != data().tensors[1], wrong)
    assert torch.equal(noisy.tensors[0], data().tensors[0])


def test_suspicions_of_grad_dot_are_its_gradients() -> None:
    torch.manual_seed(0)
    model, examples = nn.Sequential(nn.Linear(5, 2)).eval(), data()
    found = suspicions(model, examples, examples, ekfac=False, seed=0)
    for row in range(0, 40, 9):
        x, y = (tensor[row : row + 1] for tensor in examples.tensors)
        loss = nn.functional.cross_entropy(model(x), y)
        squares = sum((g**2).sum() for g in torch.autograd.grad(loss, list(model.parameters())))
        torch.testing.assert_close(found["loss"][row], loss.detach())
        torch.testing.assert_close(found["self-influence, grad-dot"][row], squares)


def test_a_row_is_the_mean_over_sets() -> None:
    wrong = torch.tensor([True, False, False, False])
    sets = [
        mislabel_detection(torch.tensor([4.0, 3.0, 2.0, 1.0]), wrong),
        mislabel_detection(torch.tensor([1.0, 2.0, 3.0, 4.0]), wrong),
    ]
    ((name, area, *_),) = detection_rows({"some": sets})
    assert name == "some"
    assert area.mean == 0.5

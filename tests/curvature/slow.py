"""What curvatures are by definition: one example at a time, in float64, dense matrices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import Curvature
from tests.oracle import CLASSES, Case, head, small_cnn

CNN = Case(lambda: small_cnn(nn.Tanh), ((3, 8, 8),))
MLP = Case(lambda: nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, CLASSES)), ((6,),))


def dataset(case: Case, count: int, seed: int = 1) -> TensorDataset:
    """Random examples with labels."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=draw)
    return TensorDataset(*case.inputs(count, seed), labels)


def gradients(
    model: nn.Module,
    data: Any,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Tensor:
    """The gradient of each example by itself, ``[n, P]``."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    rows = []
    for index in range(len(data)):
        inputs, label = data[index]
        loss = loss_fn(model(inputs[None]), label[None])
        parts = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        rows.append(flat([part[None] for part in parts])[0])
    return torch.stack(rows)


def flat(parts: Mapping[str, Tensor] | list[Tensor]) -> Tensor:
    """``[M, P]`` from tensors ``[M, *shape]``."""
    values = parts.values() if isinstance(parts, Mapping) else parts
    return torch.cat([part.flatten(1) for part in values], 1)


def by_name(matrix: Tensor, model: nn.Module) -> dict[str, Tensor]:
    """Tensors ``[M, *shape]`` by parameter from ``[M, P]``."""
    named = {name: each for name, each in model.named_parameters() if each.requires_grad}
    parts = matrix.split([each.numel() for each in named.values()], 1)
    return {
        name: part.reshape(-1, *each.shape)
        for (name, each), part in zip(named.items(), parts, strict=True)
    }


def inverse(curvature: Curvature, model: nn.Module) -> Tensor:
    """``(H + λI)⁻¹`` as a dense matrix: what becomes of the unit vectors."""
    count = curvature.fingerprint.count
    return flat(curvature.solve(by_name(torch.eye(count, dtype=torch.float64), model)))


def matrix(curvature: Curvature, model: nn.Module) -> Tensor:
    """``H`` as a dense matrix."""
    solved = inverse(curvature, model)
    damping = curvature.absolute_damping * torch.eye(len(solved), dtype=solved.dtype)
    return torch.linalg.inv(solved) - damping


def block(dense: Tensor, model: nn.Module, *names: str) -> Tensor:
    """The rows and columns of some parameters."""
    places, start = [], 0
    for name, each in model.named_parameters():
        if name in names:
            places += range(start, start + each.numel())
        start += each.numel()
    return dense[places][:, places]


__all__ = [
    "CLASSES",
    "CNN",
    "MLP",
    "block",
    "by_name",
    "dataset",
    "flat",
    "gradients",
    "head",
    "inverse",
    "matrix",
]

"""Scores, maps, a ranking and XtrAIn on torch's lazy device, beside those of the CPU.

The device computes on the CPU and refuses, as a GPU does, to mix devices. Run as a program, because
it cannot be switched off again: ``python -m tests.devices.lazy_device``.
"""

from __future__ import annotations

import torch
import torch._lazy.ts_backend
from captum.attr import NoiseTunnel
from torch import Tensor, nn

from captum_tfa import (
    GradCosScore,
    IntegratedXtrAIn,
    LayerTrainingGradCos,
    ScoreInfluence,
    TrainingGradCos,
    Trajectory,
    XtrAIn,
)

LABELS = torch.tensor([0, 2, 1, 1])


def results(device: str) -> dict[str, Tensor]:
    """What comes out on a device, on the CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 5), nn.GELU(), nn.Linear(5, 3)
    )
    model = model.double().eval().to(device)
    train, test = torch.randn(4, 6).double(), torch.randn(2, 6).double()
    pairs = list(zip(train, LABELS.tolist(), strict=True))
    train, test, labels = train.to(device), test.to(device), LABELS.to(device)
    score = GradCosScore(model)
    maps = TrainingGradCos(model)
    smooth = NoiseTunnel(maps).attribute(
        train, nt_samples=3, stdevs=0.0, target=labels, additional_forward_args=(test[:1], 1)
    )
    best = ScoreInfluence(score, pairs, batch_size=2).influence((test, [1, 0]), k=3)
    layer = LayerTrainingGradCos(model, model[2]).attribute(train, labels, (test[:1], 1))
    assert isinstance(layer, Tensor)
    twice = {name: 2 * tensor.cpu() for name, tensor in model.state_dict().items()}
    trajectory = Trajectory([model.state_dict(), twice])
    parts = IntegratedXtrAIn(model, trajectory).contributions(train, 1)
    found = {
        "XtrAIn": XtrAIn(model, trajectory).attribute(train, LABELS),
        "contributions": torch.cat([part.flatten() for part in parts.values()]),
        "scores": score(train, test[:1], 1, labels),
        "maps": maps.attribute(train, labels, (test[:1], 1)),
        "maps of predictions": maps.attribute(train, None, test[:1]),
        "smooth maps": smooth,
        "layer maps": layer,
        "ranking": ScoreInfluence(score, pairs, batch_size=2).influence((test, [1, 0])),
        "best indices": best.indices,
        "best scores": best.influence_scores,
    }
    return {name: tensor.detach().cpu() for name, tensor in found.items()}


def main() -> None:
    torch._lazy.ts_backend.init()
    given, expected = results("lazy"), results("cpu")
    for name, right in expected.items():
        torch.testing.assert_close(given[name], right, rtol=1e-8, atol=1e-12)
        print(f"{name}: the same")


if __name__ == "__main__":
    main()

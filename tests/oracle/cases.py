"""What a net of the tests is: how to make it, and what it is fed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

CLASSES = 5
Maker = Callable[[], nn.Module]


@dataclass(frozen=True)
class Case:
    """A net and the shapes of its inputs.

    Attributes:
        make: makes the net with random weights.
        shapes: the shape of one example of each input.
        output_fn: picks the logits.
        index_inputs: positions of the inputs that are integers in [0, 7).
    """

    make: Maker
    shapes: tuple[tuple[int, ...], ...]
    output_fn: Callable[[Any], Tensor] | None = None
    index_inputs: tuple[int, ...] = ()

    def model(self) -> nn.Module:
        """A new net in float64 and evaluation mode, the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = self.make().double()
            randomized(model)
        return model.eval()

    def inputs(self, batch: int, seed: int = 1) -> tuple[Tensor, ...]:
        """Random examples, one tensor for each input."""
        draw = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randint(0, 7, (batch, *shape), generator=draw)
            if position in self.index_inputs
            else torch.randn(batch, *shape, generator=draw, dtype=torch.float64)
            for position, shape in enumerate(self.shapes)
        )


def randomized(model: nn.Module) -> None:
    """Make what is zero or one at the start random, so that no gradient vanishes by accident."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 0 and bool((parameter == parameter.flatten()[0]).all()):
                fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
                parameter.add_(0.3 * fan_in**-0.5 * torch.randn_like(parameter))
        for module in model.modules():
            mean = getattr(module, "running_mean", None)
            if isinstance(mean, Tensor):
                mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)


def head(features: int) -> nn.Sequential:
    """Flattens and classifies."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, CLASSES))


def classifier(layer: nn.Module, shape: Sequence[int]) -> nn.Sequential:
    """A net around one layer, for examples of this shape, in float64 and evaluation mode."""
    layer = layer.double().eval()
    with torch.no_grad():
        features = layer(torch.randn(2, *shape, dtype=torch.float64))[0].numel()
    model = nn.Sequential(layer, nn.Tanh(), *head(features)).double()
    randomized(model)
    return model.eval()

"""Settings of all tests."""

from __future__ import annotations

import hypothesis
import pytest
import torch
from torch import Tensor

# The nets are tiny: more threads only wait for each other, and for those of other processes.
torch.set_num_threads(1)


class TorchRandom:
    """Torch's generator as hypothesis wants it, so that a failing example fails again."""

    def seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def getstate(self) -> Tensor:
        return torch.get_rng_state()

    def setstate(self, state: Tensor) -> None:
        torch.set_rng_state(state)


torch_random = TorchRandom()  # hypothesis keeps a weak reference only
hypothesis.register_random(torch_random)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)

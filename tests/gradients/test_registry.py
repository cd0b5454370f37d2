from __future__ import annotations

from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import wrap_torch_function

from captum_tfa.gradients import records, registry


def plain(input: Tensor, weight: Tensor) -> Tensor:
    return input * weight


@wrap_torch_function(lambda input, weight: (input, weight))
def shown(input: Tensor, weight: Tensor) -> Tensor:
    return input * weight


@pytest.mark.parametrize("function", [plain, nn.Linear, lambda input: input, "linear", None])
def test_what_torch_does_not_show_is_refused(function: Any) -> None:
    before = dict(registry.RECORDED)
    with pytest.raises(TypeError, match=r"not shown by torch.*wrap_torch_function"):
        records(F.softsign, function)
    assert before == registry.RECORDED


def test_what_torch_shows_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RECORDED", {})

    @records(shown, F.softsign, Tensor.exp)
    def recorded(uses: Any, input: Tensor) -> Tensor:
        return input

    assert dict.fromkeys((shown, F.softsign, Tensor.exp), recorded) == registry.RECORDED

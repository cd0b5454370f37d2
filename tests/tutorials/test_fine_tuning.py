"""A network is fine-tuned once for the same question."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captum_tfa.demo import make_shapes
from common import fine_tuning
from common.fine_tuning import fine_tuned


def test_the_same_question_is_trained_once_and_another_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = make_shapes(2, 1, size=16, patch_size=4).train
    before = torch.get_rng_state()
    first = fine_tuned("small_cnn", pictures, tmp_path, epochs=1, batch_size=4)
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(fine_tuning, "train_classifier", None)  # training again would fail
    again = fine_tuned("small_cnn", pictures, tmp_path, epochs=1, batch_size=4)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    for other in ({"epochs": 2}, {"seed": 1}, {"learning_rate": 1e-3}):
        with pytest.raises(TypeError, match="NoneType"):
            fine_tuned("small_cnn", pictures, tmp_path, **{"epochs": 1, "batch_size": 4, **other})

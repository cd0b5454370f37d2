"""State dicts out of files: tensors alone, and those of the model."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from captum_tfa.trajectory.state_files import check_fits, read_state


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.safetensors"])
@pytest.mark.parametrize("inside", [None, "state_dict", "model"])
def test_what_was_saved_comes_back(tmp_path: Path, name: str, inside: str | None) -> None:
    state = net().state_dict()
    if name.endswith("safetensors"):
        save_file(state, tmp_path / name)
    else:
        prefixed = {f"module.{key}": value for key, value in state.items()}
        torch.save(prefixed if inside is None else {inside: prefixed}, tmp_path / name)
    found = read_state(tmp_path / name)
    assert {key: value.tolist() for key, value in found.items()} == {
        key: value.tolist() for key, value in state.items()
    }
    check_fits(found, net(), name)


class Hostile:
    """Would run code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('was run')",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pt", pickle.dumps({"weight": Hostile()}), "was not run"),
        ("a.pt", b"PK\x03\x04 cut off", "is broken"),
        ("a.safetensors", b"\x00" * 5, "no safetensors file"),
        ("a.onnx", b"", r"ends in \.onnx"),
        ("a", b"", "ends in nothing"),
    ],
)
def test_what_is_no_state_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_state(tmp_path / name)


def test_a_file_must_be_there_and_hold_tensors_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_state(tmp_path / "a.pt")
    with pytest.raises(ValueError, match="is a folder"):
        read_state(tmp_path)
    torch.save([torch.zeros(1)], tmp_path / "a.pt")
    with pytest.raises(ValueError, match="holds no state dict"):
        read_state(tmp_path / "a.pt")


def test_a_state_of_another_model_is_refused() -> None:
    state = net().state_dict()
    with pytest.raises(ValueError, match=r"theirs does not fit the model: it lacks 0\.weight, .*"):
        check_fits({}, net(), "theirs")
    with pytest.raises(ValueError, match=r"it has unknown extra; give one of this model"):
        check_fits({**state, "extra": torch.zeros(1)}, net(), "theirs")
    with pytest.raises(ValueError, match=r"0\.weight is \[2, 4\] there and \[2, 3\] in the model"):
        check_fits({**state, "0.weight": torch.zeros(2, 4)}, net(), "theirs")
    with pytest.raises(ValueError, match=r"theirs: 0\.bias holds NaN"):
        check_fits({**state, "0.bias": torch.tensor([0, torch.nan])}, net(), "theirs")

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from captum_tfa.metrics.run_folder import RunFolder


def folder(path: Path, **settings: object) -> RunFolder:
    return RunFolder(path, {"epochs": 3, "net": "small", **settings})


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    written = folder(tmp_path / "a" / "b")
    tensors = {"outputs": torch.randn(3).double(), "members": torch.tensor([True, False])}
    written.write("subset 1, seed 0", tensors, {"seed": 0, "seconds": 1.5})
    for read in (folder(tmp_path / "a" / "b"), RunFolder(tmp_path / "a" / "b")):
        assert read.names() == ["subset 1, seed 0"]
        run = read.read("subset 1, seed 0")
        assert run is not None
        assert run.facts == {"seed": 0, "seconds": 1.5}
        assert all(torch.equal(run.tensors[name], tensors[name]) for name in tensors)
        assert read.read("subset 2, seed 0") is None
        assert read.settings == {"epochs": 3, "net": "small"}


def test_a_folder_of_other_settings_is_refused_with_both_sides(tmp_path: Path) -> None:
    folder(tmp_path, seeds=[0, 1])
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        RunFolder(tmp_path, {"epochs": 4, "seeds": [0, 1], "rate": 0.1})
    message = str(refused.value)
    assert "epochs: 3 in the folder, 4 now" in message
    assert "net: 'small' in the folder, '(none)' now" in message
    assert "rate: '(none)' in the folder, 0.1 now" in message
    assert "seeds" not in message


def test_a_file_of_another_experiment_is_refused(tmp_path: Path) -> None:
    folder(tmp_path / "a").write("x", {}, {})
    folder(tmp_path / "b", epochs=9)
    os.replace(tmp_path / "a" / "x.safetensors", tmp_path / "b" / "x.safetensors")
    with pytest.raises(ValueError, match="epochs: 3 in the folder, 9 now"):
        folder(tmp_path / "b", epochs=9).read("x")


def test_a_broken_file_is_refused_and_said_how_to_mend(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.write("x", {"outputs": torch.ones(3)}, {})
    file = tmp_path / "x.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ValueError, match="delete it, and it will be measured again"):
        made.read("x")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = folder(tmp_path)
    made.write("x", {"outputs": torch.ones(3)}, {})

    def full(self: Path, target: Path) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="no space"):
        made.write("x", {"outputs": torch.zeros(3)}, {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["settings.json", "x.safetensors"]
    run = made.read("x")
    assert run is not None
    assert torch.equal(run.tensors["outputs"], torch.ones(3))


def test_what_a_killed_run_left_behind_is_not_read(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (tmp_path / ".x.safetensors.0123").write_bytes(b"half")
    assert made.names() == []
    assert folder(tmp_path).names() == []


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        folder(tmp_path / "file")
    with pytest.raises(FileExistsError, match="something else"):
        folder(tmp_path)
    (tmp_path / "settings.json").write_text('{"format": "of another program"}')
    with pytest.raises(FileExistsError, match="something else"):
        folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no settings\.json"):
        RunFolder(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "x\n"])
def test_a_name_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a file"):
        folder(tmp_path).write(name, {}, {})


def test_settings_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    for value in (torch.ones(1), float("nan"), {1, 2}):
        with pytest.raises(TypeError, match="cannot be written as JSON"):
            RunFolder(tmp_path / "new", {"value": value})
    assert not (tmp_path / "new").exists()

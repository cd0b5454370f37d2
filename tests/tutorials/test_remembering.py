from __future__ import annotations

from pathlib import Path

import torch

from common.remembering import remembered, remembered_tensors


def test_the_same_question_is_measured_once(tmp_path: Path) -> None:
    path, measured = tmp_path / "new" / "numbers.json", []

    def measure() -> dict:
        measured.append(1)
        return {"share": 0.1 + 0.2, "rows": ((1, 2), (3, 4)), 5: "−"}

    first = remembered(path, {"seed": 0, "sides": (1, 2)}, measure)
    second = remembered(path, {"seed": 0, "sides": (1, 2)}, measure)
    assert first == second == {"share": 0.1 + 0.2, "rows": [[1, 2], [3, 4]], "5": "−"}
    assert len(measured) == 1
    assert [file.name for file in path.parent.iterdir()] == ["numbers.json"]


def test_another_question_is_measured_anew(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    remembered(path, {"seed": 0}, lambda: {"found": 1})
    assert remembered(path, {"seed": 1}, lambda: {"found": 2}) == {"found": 2}
    assert remembered(path, {"seed": 1}, lambda: {"found": 3}) == {"found": 2}


def test_tensors_are_measured_once_too(tmp_path: Path) -> None:
    path, measured = tmp_path / "new" / "scores.safetensors", []

    def measure() -> dict[str, torch.Tensor]:
        measured.append(1)
        return {"scores": torch.arange(6.0).view(2, 3).T}

    first = remembered_tensors(path, {"seed": 0}, measure)
    assert torch.equal(first["scores"], remembered_tensors(path, {"seed": 0}, measure)["scores"])
    assert len(measured) == 1
    remembered_tensors(path, {"seed": 1}, measure)
    assert len(measured) == 2
    assert [file.name for file in path.parent.iterdir()] == ["scores.safetensors"]

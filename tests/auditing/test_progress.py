from __future__ import annotations

from pathlib import Path

import pytest
import torch

from captum_tfa.auditing.progress import Progress


def test_what_is_kept_is_not_worked_out_again(tmp_path: Path) -> None:
    kept = {"a": torch.tensor([1.5, 2.5]), "b": torch.tensor([[3]])}
    first = Progress(tmp_path / "run", {"seed": 0})
    assert first.found == set()
    assert first.result("one", lambda: kept)["a"].tolist() == [1.5, 2.5]
    again = Progress(tmp_path / "run", {"seed": 0})
    assert again.found == {"one"}

    def refuse() -> dict[str, torch.Tensor]:
        raise AssertionError("worked out again")

    found = again.result("one", refuse)
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        "a": [1.5, 2.5],
        "b": [[3]],
    }


def test_without_a_folder_nothing_is_kept() -> None:
    progress = Progress(None, {})
    assert progress.result("one", lambda: {"a": torch.tensor(1)})["a"] == 1
    assert progress.result("one", lambda: {"a": torch.tensor(2)})["a"] == 2


def test_other_settings_are_refused_with_both_sides(tmp_path: Path) -> None:
    Progress(tmp_path / "run", {"seed": 0})
    with pytest.raises(ValueError, match="seed: 0 in the folder, 1 now"):
        Progress(tmp_path / "run", {"seed": 1})


def test_work_that_fails_leaves_nothing(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "run", {})

    def fail() -> dict[str, torch.Tensor]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        progress.result("one", fail)
    assert Progress(tmp_path / "run", {}).found == set()

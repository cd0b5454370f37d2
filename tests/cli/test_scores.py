"""Scores that are made of checkpoints and of the training images."""

from __future__ import annotations

import pytest
import torch

from captum_tfa.cli.main import main
from tests.cli.conftest import Home
from tests.cli.test_explain import read, refused


def checkpoints(home: Home) -> list[str]:
    state = torch.load(home.folder / "weights.pt", weights_only=True)
    for number in range(2):
        moved = {
            name: tensor + 0.1 * (number + 1) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
        torch.save(moved, home.folder / f"{number}.pt")
    return ["0.pt", "1.pt"]


@pytest.mark.parametrize("rates", [[], ["0.1"], ["0.1", "0.01"]])
def test_tracin_of_checkpoints(home: Home, rates: list[str]) -> None:
    more = ["--checkpoints", *checkpoints(home)]
    more += ["--learning-rates", *rates] if rates else []
    assert main([*home.arguments(score="tracin"), *more]) == 0
    found = read(home.folder / "why")
    assert found["settings"]["score"] == "TracIn"  # type: ignore[index]
    assert found["proponents"] or found["opponents"]


def test_representer_of_the_last_layer(home: Home) -> None:
    assert main(home.arguments(score="representer")) == 0
    assert read(home.folder / "why")["settings"]["score"] == "representer"  # type: ignore[index]


def test_options_that_do_not_belong_together(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(home, capsys, "--score tracin needs --checkpoints", score="tracin")
    refused(
        home, capsys, "--checkpoints belongs to --score tracin, not grad-cos",
        score="grad-cos", checkpoints="0.pt",
    )  # fmt: skip
    refused(home, capsys, "0.pt does not exist", score="tracin", checkpoints="0.pt")
    refused(
        home, capsys, "--curvature belongs to --score influence, not representer",
        score="representer", curvature="kept.safetensors",
    )  # fmt: skip

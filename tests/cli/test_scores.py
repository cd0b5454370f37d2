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


@pytest.mark.parametrize("score", ["grad-dot", "influence", "representer"])
def test_the_mean_over_several_trainings(home: Home, score: str) -> None:
    files = checkpoints(home)
    quick = {"score": score, "top": "8", "method": "gradient"}
    assert main([*home.arguments(**quick), "--ensemble", *files]) == 0
    found = read(home.folder / "why")
    name = found["settings"]["score"]  # type: ignore[index]
    assert name.startswith("mean of 3 × ")
    if score != "grad-dot":
        return
    scores: dict[int, float] = {}
    for number, file in enumerate(["weights.pt", *files]):
        label = found["test"]["label_name"]  # type: ignore[index]
        options = {**quick, "weights": file, "label": label, "out": f"{number}"}
        assert main(home.arguments(**options)) == 0
        for index, value in _scores(read(home.folder / f"{number}")).items():
            scores[index] = scores.get(index, 0) + value / 3
    assert _scores(found) == pytest.approx(scores, rel=1e-3)


def _scores(found: dict[str, object]) -> dict[int, float]:
    examples = [*found["proponents"], *found["opponents"]]  # type: ignore[misc]
    return {example["index"]: example["score"] for example in examples}


def test_what_does_not_go_with_several_trainings(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    other = checkpoints(home)[0]
    refused(
        home, capsys, "--score tracin does not go with --ensemble",
        score="tracin", checkpoints=other, ensemble=other,
    )  # fmt: skip
    refused(
        home, capsys, "--curvature does not go with --ensemble",
        ensemble=other, score="influence", curvature="kept",
    )  # fmt: skip
    refused(home, capsys, "none.pt does not exist", ensemble="none.pt")
    refused(home, capsys, "score is 'grad'", ensemble=other, score="grad")

"""Digits by retraining, in a few small trainings: what must hold at any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tutorials.running import run_tutorial


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("digits")
    return run_tutorial(
        "retraining_digits",
        out=place / "out",
        cache=place / "cache",
        train=300,
        queries=20,
        subsets=10,
        seeds=(0,),
        models=2,
        single=10,
        groups=3,
        group_size=20,
        leaving_seeds=(0, 1),
        wrong_sets=2,
        hidden=8,
        epochs=20,
        checkpoints=2,
        ekfac=False,
    )


def test_exact_influence_is_nearly_what_leaving_one_out_does(seen: dict[str, Any]) -> None:
    found = seen["table"]["logistic regression"]["influence, exact Hessian"]
    assert found["one"].mean > 0.9
    assert found["halves"].mean > 0.8
    assert abs(seen["table"]["logistic regression"]["random"]["halves"].mean) < 0.3


def test_the_logistic_regression_is_at_its_optimum(seen: dict[str, Any]) -> None:
    model, _ = seen["whole_model"]("logistic regression", seen["train"], 0)
    x, y = seen["train"].tensors
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss = loss + seen["DECAY"] * sum((p**2).sum() for p in model.parameters())
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-5


def test_wrong_labels_are_found_and_chance_finds_none(seen: dict[str, Any]) -> None:
    detected = seen["detected"]
    assert all(result.auc.mean > 0.7 for result in detected["self-influence, grad-dot"])
    assert all(0.2 < result.auc.mean < 0.8 for result in detected["random"])


def test_the_page_is_written_with_its_figure(seen: dict[str, Any]) -> None:
    out = Path(seen["run"].out)
    page = (out / "retraining_digits.md").read_text()
    for row in ("| grad-cos, 2 models |", "| TracInCP (captum), 1 model |", "Wrong labels"):
        assert row in page
    assert (out / "retraining_digits-lds.png").is_file()

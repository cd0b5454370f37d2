"""The quick form of the tutorial on wrong predictions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_opponents_harm_and_a_step_away_from_them_undoes_harm(tmp_path: Path) -> None:
    write_shapes(tmp_path / "cifar", 8, 8)
    write_shapes(tmp_path / "photos", 4, 4, test_name="val")
    seen = run_tutorial(
        "wrong_prediction",
        data=tmp_path / "photos",
        cifar=tmp_path / "cifar",
        out=tmp_path / "out",
        cache=tmp_path / "cache",
        network="small_cnn",
        side=32,
        epochs=1,
        cifar_epochs=1,
        wrong=3,
        top=2,
        step_size=1e-4,
        others=2,
        samples=2,
    )
    study = seen["of_cifar"]
    assert len(study.wrong) == 3
    assert (study.true != study.said).all()
    assert torch.equal(study.true, study.test.labels[study.wrong])
    assert (study.scores.gather(1, study.opponents) <= study.scores.median(1, True).values).all()

    # A small step changes the loss by −size · ⟨test gradient, mean training gradient⟩.
    model, rows = study.model, study.opponents[0]
    images = torch.stack([study.train[int(row)][0] for row in rows])
    labels = study.train.labels[rows]
    weights = list(model.parameters())
    sides = ((images, labels), (study.images[:1], study.true[:1]))
    a, b = (torch.autograd.grad(cross_entropy(model(x), y), weights) for x, y in sides)
    slope = float(sum((left * right).sum() for left, right in zip(a, b, strict=True)))
    towards, away = seen["outcomes"][study.name][0, :, 0, 0].tolist()
    assert towards == pytest.approx(-1e-4 * slope, rel=0.1, abs=1e-5)
    assert away == pytest.approx(1e-4 * slope, rel=0.1, abs=1e-5)
    assert "towards top opponents" in (tmp_path / "out" / "wrong_prediction.md").read_text()

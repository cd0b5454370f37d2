"""The tutorial on the paper's toy example ends where its words say."""

from __future__ import annotations

import runpy
from pathlib import Path

import torch

TUTORIAL = Path(__file__).parents[2] / "tutorials" / "toy_example.py"


def test_all_mass_lies_on_the_second_feature_of_the_informative_example() -> None:
    seen = runpy.run_path(str(TUTORIAL))
    prediction = seen["weights"] @ seen["test"]
    torch.testing.assert_close(seen["of_examples"].sum(), prediction)
    torch.testing.assert_close(seen["of_features"].sum(1), seen["of_examples"])
    only = torch.zeros_like(seen["of_features"])
    only[-1, 1] = prediction
    torch.testing.assert_close(seen["of_features"], only)
    torch.testing.assert_close(seen["share"], torch.tensor([[0.0, 1.0]]).double())

"""From a puzzling test image to a figure of the training pixels behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from captum_tfa.report.explain import explain
from captum_tfa.report.explanation import Explanation, TrainingExample
from captum_tfa.report.parts import ExplainedParts, PartedExample, explain_parts

if TYPE_CHECKING:
    from captum_tfa.report.parts_figure import draw_weights

__all__ = [
    "ExplainedParts",
    "Explanation",
    "PartedExample",
    "TrainingExample",
    "draw_weights",
    "explain",
    "explain_parts",
]


def __getattr__(name: str) -> Any:
    """What draws, imported when first asked for: matplotlib takes a while."""
    if name == "draw_weights":
        from captum_tfa.report.parts_figure import draw_weights

        return draw_weights
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

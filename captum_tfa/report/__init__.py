"""From a puzzling test image to a figure of the training pixels behind it."""

from captum_tfa.report.explain import explain
from captum_tfa.report.explanation import Explanation, TrainingExample

__all__ = ["Explanation", "TrainingExample", "explain"]

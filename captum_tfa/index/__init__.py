"""The gradient index: look once through the training set, ask a thousand times."""

from captum_tfa.index.gradient_index import GradientIndex
from captum_tfa.index.parts import build_parts, open_parts
from captum_tfa.index.trak_score import TrakScore

__all__ = ["GradientIndex", "TrakScore", "build_parts", "open_parts"]

"""Slow oracles and small models that the tests share."""

from tests.oracle.cases import CLASSES, Case, classifier, head, randomized
from tests.oracle.compare import (
    EXACT,
    assert_exact,
    assert_layer_exact,
    relative_error,
    scores_and_maps,
)
from tests.oracle.model_state import model_state
from tests.oracle.models import LAYER_NETS, NETS, small_cnn
from tests.oracle.slow_score import SlowScore, cos, dot, flat, slow_map, without_hooks

__all__ = [
    "CLASSES",
    "EXACT",
    "LAYER_NETS",
    "NETS",
    "Case",
    "SlowScore",
    "assert_exact",
    "assert_layer_exact",
    "classifier",
    "cos",
    "dot",
    "flat",
    "head",
    "model_state",
    "randomized",
    "relative_error",
    "scores_and_maps",
    "slow_map",
    "small_cnn",
    "without_hooks",
]

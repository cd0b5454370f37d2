"""Test gradients that the next call can use: where a wrapper of Captum calls several times.

``NoiseTunnel`` with ``nt_samples_batch_size`` calls ``attribute`` once for each part of its noisy
copies, with the same tensors on the test side. It makes these tensors when it begins and drops them
when it ends, so as long as one of them lives the user has had no chance to change the model, and
what was found for it still holds. Nothing is kept from one call of the user's to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from captum_tfa.attr.repeats import called_by_user
from captum_tfa.scores import Score
from captum_tfa.scores.distinct_tests import DistinctTests

# By the tensor of test images that a wrapper made.
_kept: WeakIdKeyDictionary = WeakIdKeyDictionary()


def tests_of_wrapper(
    score: Score, given: Any, labels: Any, together: bool, make: Callable[[], DistinctTests]
) -> DistinctTests:
    """The distinct tests of a call, with the gradients that an earlier call of its wrapper found.

    Args:
        score: the score that is attributed.
        given: the test images as they were given.
        labels: their labels, likewise.
        together: whether all of them go with every training image.
        make: finds the distinct tests.
    """
    # What is no tensor the wrapper hands on, and it may outlive the call.
    if called_by_user() or not isinstance(given, Tensor) or given.is_inference():
        return make()
    version = given._version, labels._version if isinstance(labels, Tensor) else None
    if given in _kept:
        of_score, of_labels, then, tests = _kept[given]
        if of_score is score and of_labels is labels and then == (*version, together):
            return tests  # type: ignore[no-any-return]
    tests = make()
    _kept[given] = score, labels, (*version, together), tests
    return tests

"""Which parts of the training data are behind my model's mistakes?

The package can be called like its function: ``from captum_tfa import audit`` is both, whichever was
imported first.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from captum_tfa.audit.audit import audit
from captum_tfa.audit.clusters import Cluster
from captum_tfa.audit.evidence import Evidence
from captum_tfa.audit.opponents import Pair, PairOpponent
from captum_tfa.audit.regions import Regions, find_regions
from captum_tfa.audit.result import Audit, Mistake
from captum_tfa.audit.suspected_labels import SuspectedLabel
from captum_tfa.audit.suspects import Region, Suspect

__all__ = [
    "Audit",
    "Cluster",
    "Evidence",
    "Mistake",
    "Pair",
    "PairOpponent",
    "Region",
    "Regions",
    "Suspect",
    "SuspectedLabel",
    "audit",
    "find_regions",
]


class _Callable(ModuleType):
    """A package that is called like the function of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Audit:
        return audit(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable

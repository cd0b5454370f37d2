"""Which parts of the training data are behind my model's mistakes?"""

from __future__ import annotations

from captum_tfa.auditing.audit import audit
from captum_tfa.auditing.clusters import Cluster
from captum_tfa.auditing.evidence import Evidence
from captum_tfa.auditing.opponents import Pair, PairOpponent
from captum_tfa.auditing.regions import Regions, find_regions
from captum_tfa.auditing.result import Audit, Mistake
from captum_tfa.auditing.retrain_check import Treated, retrain_check
from captum_tfa.auditing.suspected_labels import SuspectedLabel
from captum_tfa.auditing.suspects import Region, Suspect

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
    "Treated",
    "audit",
    "find_regions",
    "retrain_check",
]

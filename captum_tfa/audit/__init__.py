"""Which parts of the training data are behind my model's mistakes?"""

from __future__ import annotations

from captum_tfa.audit.clusters import Cluster
from captum_tfa.audit.evidence import Evidence
from captum_tfa.audit.regions import Regions, find_regions

__all__ = ["Cluster", "Evidence", "Regions", "find_regions"]

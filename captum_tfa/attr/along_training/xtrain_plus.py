"""XtrAIn+: only what raised the target's output counts [lymperopoulos2026xtrain]."""

from __future__ import annotations

from torch import Tensor

from captum_tfa.attr.along_training.xtrain import XtrAIn


class XtrAInPlus(XtrAIn):
    """``Σ_t max(0, (φ_i + φ'_i) / 2)``: the parts of the updates that raised the output.

    *Choice*, where the paper's text leaves it open: by step and feature (or group), the positive
    part. So nothing cancels along the training, and what swings to and fro adds up. Source:
    [lymperopoulos2026xtrain]_.

    Args:
        model: as for `XtrAIn`; likewise ``trajectory``.
        trajectory: likewise.
    """

    @staticmethod
    def kept(effect: Tensor) -> Tensor:
        """The positive part."""
        return effect.clamp_min(0)

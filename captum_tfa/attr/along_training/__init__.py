"""Attributions along the training: what each feature's weights did to an output, step by step."""

from captum_tfa.attr.along_training.integrated_xtrain import IntegratedXtrAIn, by_layer
from captum_tfa.attr.along_training.learned_from import LearnedFrom, StepShares
from captum_tfa.attr.along_training.xstep import Xstep
from captum_tfa.attr.along_training.xtrain import XtrAIn
from captum_tfa.attr.along_training.xtrain_plus import XtrAInPlus

__all__ = [
    "IntegratedXtrAIn",
    "LearnedFrom",
    "StepShares",
    "Xstep",
    "XtrAIn",
    "XtrAInPlus",
    "by_layer",
]

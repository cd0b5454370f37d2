"""The states of a model along its training."""

from captum_tfa.trajectory.recorder import TrajectoryRecorder
from captum_tfa.trajectory.trajectory import Trajectory

__all__ = ["Trajectory", "TrajectoryRecorder"]

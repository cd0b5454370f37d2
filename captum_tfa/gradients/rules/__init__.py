"""One file a layer type: what to record, and how parameter gradients follow from it.

Importing this package registers them all.
"""

from __future__ import annotations

from captum_tfa.gradients.rules import (
    batch_norm,
    conv_transpose,
    convolution,
    elementwise,
    embedding,
    group_norm,
    instance_norm,
    layer_norm,
    linear,
    prelu,
    rms_norm,
)

__all__ = [
    "batch_norm",
    "conv_transpose",
    "convolution",
    "elementwise",
    "embedding",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "prelu",
    "rms_norm",
]

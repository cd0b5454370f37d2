"""In which precision squares and products of gradients are added up.

The gradients of a model in half precision are often below 1e-4, and the square of that is 0 in
float16; bfloat16 holds it, but no sum of many. So both are added up in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor


def summable(tensor: Tensor) -> Tensor:
    """The same in at least float32."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))

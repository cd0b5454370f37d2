"""One file a function that is computed in another way, with the same result.

torch has no second derivative of it, or a slow one. Importing this package registers them all.
"""

from __future__ import annotations

from captum_tfa.gradients.rewrites import attention, hardsigmoid, max_pool

__all__ = ["attention", "hardsigmoid", "max_pool"]

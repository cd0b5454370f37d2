"""What stands between the two gradients of an influence: stand-ins for the loss's Hessian."""

from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.fit import fit_curvature
from captum_tfa.curvature.saving import load_curvature

__all__ = ["Curvature", "fit_curvature", "load_curvature"]

"""Every kind of curvature by its name."""

from __future__ import annotations

from captum_tfa.curvature.arnoldi import ArnoldiCurvature
from captum_tfa.curvature.cg import CgCurvature
from captum_tfa.curvature.curvature import Curvature
from captum_tfa.curvature.datainf import DatainfCurvature
from captum_tfa.curvature.diagonal import DiagonalCurvature
from captum_tfa.curvature.ekfac import EkfacCurvature
from captum_tfa.curvature.fisher import FisherCurvature
from captum_tfa.curvature.ggn import GgnCurvature
from captum_tfa.curvature.hessian import HessianCurvature
from captum_tfa.curvature.kfac import KfacCurvature

KINDS: dict[str, type[Curvature]] = {
    made.kind: made
    for made in (
        HessianCurvature,
        GgnCurvature,
        FisherCurvature,
        DiagonalCurvature,
        KfacCurvature,
        EkfacCurvature,
        CgCurvature,
        ArnoldiCurvature,
        DatainfCurvature,
    )
}

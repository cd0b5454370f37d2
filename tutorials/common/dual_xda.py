"""DualXDA beside ours: the published tool with heat maps on training images (package `dualxda`).

A support vector machine on the features that go into the last layer stands for the network. An
attribution is a dual variable times an inner product of features, and its heat map is what LRP
makes of the terms of that product.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import tempfile

import torch
from torch import Tensor, nn

from captum_tfa.demo import Pictures


def installed() -> bool:
    """Whether the package is there; it is no part of ours."""
    return importlib.util.find_spec("dualxda") is not None


class DualXda:
    """Attributions and heat maps of the package for one network.

    Its own heat maps take the first channel of a picture only and refuse colour; here the package's
    recipe is applied to the whole picture: the terms of the inner product, scaled to sum to the
    attribution, are given to LRP (zennit, with the rules that the package takes by default) at the
    features.

    Args:
        model: the network; a copy is worked on.
        train: its training pictures.
    """

    def __init__(self, model: nn.Module, train: Pictures) -> None:
        from dualxda import DualDA
        from zennit.canonizers import SequentialMergeBatchNorm
        from zennit.composites import EpsilonPlusFlat

        model = copy.deepcopy(model)
        name = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)][-1]
        quiet = io.StringIO()
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
        ):
            self._fitted = DualDA(model, train, name, "cpu", folder)
        self._fitted.remove_hook()
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, nn.Identity())
        self._features = model
        self._rules = EpsilonPlusFlat(zero_params="bias", canonizers=[SequentialMergeBatchNorm()])

    def attributions(self, tests: Tensor, target: int) -> Tensor:
        """Of every training picture for test images and a class, ``[M, N]``; many are 0."""
        fitted = self._fitted
        with torch.no_grad():
            products = self._features(tests) @ fitted.samples.T
        found = torch.zeros(len(tests), len(fitted.dataset))
        found[:, fitted.active_indices] = products * fitted.coefficients[:, target]
        return found

    def heat(self, image: Tensor, tests: Tensor, attributions: Tensor) -> Tensor:
        """The positive part of the heat maps of one training image, ``[M, H, W]``."""
        from zennit.attribution import Gradient

        with torch.no_grad():
            terms = self._features(image) * self._features(tests)  # [M, F]
        maps = []
        for term, attribution in zip(terms, attributions, strict=True):
            relevance = term * (attribution / term.sum())
            with Gradient(model=self._features, composite=self._rules) as attributor:
                _, found = attributor(image.clone(), relevance[None])
            maps.append(found.detach().sum(1).clamp_min(0))
        return torch.cat(maps)

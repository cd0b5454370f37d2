from __future__ import annotations

import torch

from captum_tfa.curvature import fit_curvature
from captum_tfa.curvature.factors import Layer
from captum_tfa.curvature.kfac import KfacCurvature
from captum_tfa.gradients import GradientEngine
from captum_tfa.gradients.losses import ExampleLosses
from tests.curvature.slow import CNN, block, dataset, gradients, matrix
from tests.oracle import relative_error


def test_a_block_is_one_kronecker_product_with_the_trace_of_the_fisher_matrix() -> None:
    model, data = CNN.model(), dataset(CNN, 4)
    curvature = fit_curvature(model, data, kind="kfac", labels="true", batch_size=3)
    assert isinstance(curvature, KfacCurvature)
    given, squares = matrix(curvature, model), gradients(model, data).square().mean(0).diag()
    engine = GradientEngine(model, ExampleLosses(), None)
    (terms,) = engine.terms(data.tensors[:1], data.tensors[1])
    assert curvature.layers == (
        Layer("0.weight", "0.bias", 1),
        Layer("4.weight", "4.bias", 2),
        Layer("8.weight", "8.bias", 1),
    )
    for layer in curvature.layers:
        activations, deltas = layer.factors(terms)
        right, left = (
            torch.einsum("gibt,gjbt->gij", factor, factor) for factor in (activations, deltas)
        )
        # Group by group, entries in the order of weight and bias joined: row by row of [O, K + 1].
        products = [torch.kron(one, other) for one, other in zip(left, right, strict=True)]
        joined = torch.block_diag(*products)
        columns = right.shape[-1]
        entries = torch.arange(len(joined)).view(-1, columns)
        order = torch.cat([entries[:, :-1].flatten(), entries[:, -1]])
        wanted = joined[order][:, order].detach()
        names = (layer.weight, layer.bias)
        trace = block(squares, model, *names).trace()
        wanted = wanted * (trace / wanted.trace())
        assert relative_error(block(given, model, *names), wanted) < 1e-7, layer.weight

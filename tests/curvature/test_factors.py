from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from captum_tfa.curvature.factors import layer_of
from captum_tfa.gradients import GradientEngine
from captum_tfa.gradients.losses import ExampleLosses
from tests.oracle import CLASSES, EXACT, NETS, classifier, relative_error


def check(model: nn.Module, inputs: tuple[Tensor, ...], expected: set[str] | None = None) -> None:
    """Wherever there are factors, ``Σ_t δ_t a_tᵀ`` is each example's gradient."""
    engine = GradientEngine(model, ExampleLosses(), None)
    labels = torch.arange(len(inputs[0])) % CLASSES
    (terms,) = engine.terms(inputs, labels)
    found = set()
    with torch.no_grad():
        for name in terms:
            layer = layer_of(name, terms)
            if layer is None:
                continue
            found |= {layer.weight, layer.bias} - {None}
            factors = layer.factors(terms)
            assert factors is not None
            activations, deltas = factors
            gradients = {key: term.gradient() for key, term in terms.items()}
            made = torch.einsum("gobt,gkbt->bgok", deltas, activations)
            assert relative_error(made, layer.joined(gradients)) < EXACT
            parted = layer.parted(layer.joined(gradients), gradients)
            assert all(torch.equal(parted[key], gradients[key]) for key in parted)
    if expected is not None:
        assert found == expected


@pytest.mark.parametrize("name", list(NETS))
def test_factors_make_each_example_s_gradient(name: str) -> None:
    if NETS[name].output_fn is not None:
        pytest.skip("the same layers as elsewhere")
    check(NETS[name].model(), NETS[name].inputs(3))


def test_projections_of_attention_have_factors_with_their_biases() -> None:
    model = NETS["encoder layer"].model()
    check(
        model,
        NETS["encoder layer"].inputs(3),
        {
            f"0.{name}.{kind}"
            for name in ("self_attn.out_proj", "linear1", "linear2")
            for kind in ("weight", "bias")
        }
        | {"0.self_attn.in_proj_weight", "0.self_attn.in_proj_bias", "2.weight", "2.bias"},
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
)
def test_factors_of_convolutions(
    spatial: int,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
    bias: bool,
    transposed: bool,
) -> None:
    kinds = (
        [nn.Conv1d, nn.Conv2d, nn.Conv3d],
        [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d],
    )
    options = {"output_padding": stride - 1} if transposed and stride > 1 else {}
    if transposed and dilation * (kernel - 1) + 1 <= padding:
        padding = 0
    if not transposed and dilation * (kernel - 1) >= 7 - spatial + 2 * padding:
        dilation = 1  # the kernel has to fit
    layer = kinds[transposed][spatial - 1](
        2, 4, kernel, stride, padding, groups=groups, bias=bias, dilation=dilation, **options
    )
    shape = (2, *range(6, 6 - spatial, -1))
    model = classifier(layer, shape)
    check(model, (torch.randn(3, *shape, dtype=torch.float64),))

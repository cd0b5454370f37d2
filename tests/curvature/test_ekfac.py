from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa.curvature import ekfac, fit_curvature, kronecker
from tests.curvature.slow import CNN, MLP, block, by_name, dataset, gradients, matrix
from tests.oracle import EXACT, NETS, relative_error


def linear_net(*widths: int, bias: bool = True) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pairs = pairwise(widths)
        return nn.Sequential(*(nn.Linear(*pair, bias=bias) for pair in pairs)).double().eval()


def crossed(model: nn.Module, inputs: int, residuals: int) -> TensorDataset:
    """Every input with every residual: then activations and deltas are independent."""
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(inputs, model[0].in_features, generator=draw, dtype=torch.float64)
    errors = torch.randn(residuals, model[-1].out_features, generator=draw, dtype=torch.float64)
    images = images.repeat_interleave(residuals, 0)
    return TensorDataset(images, model(images).detach() + errors.repeat(inputs, 1))


def squared(outputs: Tensor, labels: Tensor) -> Tensor:
    return (outputs - labels).square().sum(1)


@pytest.mark.parametrize("kind", ["ekfac", "kfac"])
@pytest.mark.parametrize("bias", [True, False])
def test_blocks_of_deep_linear_nets_are_exact(kind: str, bias: bool) -> None:
    model = linear_net(4, 3, 5, 2, bias=bias)
    data = crossed(model, 6, 4)
    curvature = fit_curvature(
        model, data, kind=kind, labels="true", loss_fn=nn.MSELoss(reduction="none"), damping=0.2
    )
    given, rows = matrix(curvature, model), gradients(model, data, squared)
    right = rows.T @ rows / len(data)
    between = given.clone()
    for layer in "012":
        names = [f"{layer}.weight", f"{layer}.bias"]
        assert relative_error(block(given, model, *names), block(right, model, *names)) < 1e-7
    start = 0
    for layer in model:
        stop = start + sum(each.numel() for each in layer.parameters())
        between[start:stop, start:stop] = 0
        start = stop
    assert float(between.abs().max()) < 1e-7 * float(given.abs().max())


@pytest.mark.parametrize("kind", ["ekfac", "kfac"])
def test_one_datum_is_exact(kind: str) -> None:
    model, data = MLP.model(), dataset(MLP, 1)
    given = matrix(fit_curvature(model, data, kind=kind, labels="true"), model)
    gradient = gradients(model, data)[0]
    for names in (("0.weight", "0.bias"), ("2.weight", "2.bias")):
        right = block(gradient[:, None] * gradient, model, *names)
        assert relative_error(block(given, model, *names), right) < 1e-7


def seen_and_answered(
    model: nn.Sequential, layer: nn.Module, image: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    """Of one example ``a [groups, T, K + 1]`` and ``δ [groups, T, O]``, by torch's own unfold."""
    kept: dict[str, Tensor] = {}

    def keep(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        kept["input"], kept["output"] = inputs[0].detach(), output

    handle = layer.register_forward_hook(keep)
    loss = F.cross_entropy(model(image[None]), label[None])
    handle.remove()
    (delta,) = torch.autograd.grad(loss, kept["output"])
    if isinstance(layer, nn.Linear):
        activations, deltas = kept["input"].reshape(1, -1, layer.in_features), delta
        deltas = delta.reshape(1, -1, layer.out_features)
    else:
        settings = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)
        windows = F.unfold(kept["input"], *settings)[0]
        activations = windows.reshape(layer.groups, -1, windows.shape[1]).mT
        deltas = delta[0].flatten(1).reshape(layer.groups, -1, windows.shape[1]).mT
    if layer.bias is not None:
        activations = torch.cat([activations, torch.ones_like(activations[..., :1])], 2)
    return activations, deltas


@pytest.mark.parametrize("name", ["small cnn", "conv2d strided and dilated, two layers"])
def test_layers_equal_the_slow_definition(name: str) -> None:
    model, data = NETS[name].model(), dataset(NETS[name], 6)
    curvature = fit_curvature(model, data, labels="true", batch_size=4, damping=0.05)
    vectors = by_name(torch.randn(2, curvature.fingerprint.count, dtype=torch.float64), model)
    solved = curvature.solve(vectors)
    seen = 0
    for place, layer in enumerate(model.modules()):
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        seen += 1
        examples = [seen_and_answered(model, layer, *data[index]) for index in range(len(data))]
        right = torch.linalg.eigh(sum(a.mT @ a for a, _ in examples)).eigenvectors
        left = torch.linalg.eigh(sum(d.mT @ d for _, d in examples)).eigenvectors
        moments = sum((left.mT @ d.mT @ a @ right).square() for a, d in examples) / len(data)
        prefix = next(key for key, module in model.named_modules() if module is layer)
        weight = vectors[f"{prefix}.weight"].reshape(2, *moments.shape[:2], -1)
        if layer.bias is not None:
            bias = vectors[f"{prefix}.bias"].reshape(2, *moments.shape[:2], 1)
            weight = torch.cat([weight, bias], 3)
        rotated = left.mT @ weight @ right / (moments + curvature.absolute_damping)
        wanted = left @ rotated @ right.mT
        if layer.bias is not None:
            given_bias, wanted_bias = solved[f"{prefix}.bias"], wanted[..., -1].flatten(1)
            assert relative_error(given_bias, wanted_bias) < EXACT, place
            wanted = wanted[..., :-1]
        given = solved[f"{prefix}.weight"]
        assert relative_error(given, wanted.reshape(given.shape)) < EXACT, place
    assert seen >= 2


@pytest.mark.parametrize("kind", ["ekfac", "kfac"])
def test_a_layer_that_is_too_wide_has_its_diagonal_and_says_so(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kronecker, "MOST_SIDE", 27)  # 3 x 3 x 3 inputs and the bias are 28
    model, data = CNN.model(), dataset(CNN, 6)
    with pytest.warns(UserWarning, match=r"'0\.weight' has 28 inputs and 4 outputs.*diagonal"):
        curvature = fit_curvature(model, data, kind=kind, labels="true", batch_size=2)
    assert [layer.weight for layer in curvature.layers] == ["4.weight", "8.weight"]
    squares = gradients(model, data).square().mean(0).diag()
    for name in ("0.weight", "0.bias"):
        given = block(matrix(curvature, model), model, name)
        assert relative_error(given, block(squares, model, name)) < 1e-7


@pytest.mark.parametrize("kind", ["ekfac", "kfac"])
def test_products_in_blocks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = CNN.model(), dataset(CNN, 6)
    whole = matrix(fit_curvature(model, data, kind=kind), model)
    monkeypatch.setattr(kronecker, "_BLOCK", 4)
    monkeypatch.setattr(ekfac, "_MOST_NUMBERS", 1)
    assert relative_error(matrix(fit_curvature(model, data, kind=kind), model), whole) < 1e-7


def test_parameters_without_factors_have_their_diagonal() -> None:
    model, data = CNN.model(), dataset(CNN, 6)
    given = matrix(fit_curvature(model, data, labels="true"), model)
    squares = gradients(model, data).square().mean(0)
    for name in ("1.weight", "1.bias"):
        right = block(squares.diag(), model, name)
        assert relative_error(block(given, model, name), right) < 1e-7


@pytest.mark.parametrize("kind", ["ekfac", "kfac", "diagonal", "fisher"])
def test_trace_is_that_of_the_fisher_matrix(kind: str) -> None:
    model, data = CNN.model(), dataset(CNN, 8)
    curvature = fit_curvature(model, data, kind=kind, labels="true", damping=1.0)
    mean = float(gradients(model, data).square().sum(1).mean()) / curvature.fingerprint.count
    assert abs(curvature.absolute_damping / mean - 1) < 1e-10


def test_a_layer_that_is_used_twice_is_one_block_over_all_positions() -> None:
    shared = nn.Linear(4, 4).double()
    twice = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh(), nn.Linear(4, 5).double()).eval()
    data = TensorDataset(torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 5)
    curvature = fit_curvature(twice, data, labels="true", damping=1.0)
    total = gradients(twice, data).square().sum(1).mean()
    assert abs(curvature.absolute_damping * curvature.fingerprint.count / float(total) - 1) < 1e-10
    names = [layer.weight for layer in curvature.layers]
    assert names == ["0.weight", "4.weight"]

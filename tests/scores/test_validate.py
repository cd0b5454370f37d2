from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from captum_tfa import GradCosScore, validate
from captum_tfa.gradients.problems import problems
from tests.oracle import NETS, small_cnn


def _training(module: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), module.train()).train()


def _on_two_devices() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, device="meta")).eval()


def _quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)).eval()
        return torch.ao.quantization.quantize_dynamic(model, {nn.Linear})


PROBLEMS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "batch norm in training mode": (
        lambda: _training(nn.BatchNorm2d(2)),
        r"1: BatchNorm in training mode mixes the examples of a batch; call model.eval\(\)",
    ),
    "batch norm without statistics": (
        lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
        "1: BatchNorm with track_running_stats=False .*track_running_stats=True or use GroupNorm",
    ),
    "instance norm that learns statistics": (
        lambda: _training(nn.InstanceNorm2d(2, track_running_stats=True)),
        r"1: InstanceNorm in training mode changes its running statistics; call model.eval\(\)",
    ),
    "dropout": (
        lambda: _training(nn.Dropout(0.1)),
        r"1: dropout in training mode makes scores random; call model.eval\(\)",
    ),
    "dropout of channels": (lambda: _training(nn.Dropout2d()), "1: dropout in training mode"),
    "alpha dropout": (lambda: _training(nn.FeatureAlphaDropout()), "1: dropout in training mode"),
    "stochastic depth": (
        lambda: _training(StochasticDepth(0.2, "row")),
        "1: dropout in training mode",
    ),
    "dropout in attention": (
        lambda: _training(nn.MultiheadAttention(2, 1, dropout=0.1)),
        "1: dropout in training mode",
    ),
    "dropout in an lstm": (
        lambda: _training(nn.LSTM(2, 2, 2, dropout=0.1)),
        "1: dropout in training mode",
    ),
    "random relu": (lambda: _training(nn.RReLU()), "1: dropout in training mode"),
    "rewritten table": (
        lambda: nn.Embedding(3, 2, max_norm=1.0),
        "the model: max_norm rewrites the table in the forward pass; set max_norm=None",
    ),
    "frequencies": (
        lambda: nn.Sequential(nn.EmbeddingBag(3, 2, scale_grad_by_freq=True)),
        "0: scale_grad_by_freq mixes the examples of a batch; set it to False",
    ),
    "nothing to train": (
        lambda: small_cnn().requires_grad_(False).eval(),
        r"it has no trainable parameter, .* call requires_grad_\(True\) on the layers",
    ),
    "lazy": (
        lambda: nn.Sequential(nn.LazyLinear(2)).eval(),
        "0: its parameters do not exist yet; run one forward pass first",
    ),
    "several devices": (
        _on_two_devices,
        r"its parameters lie on several devices \(cpu, meta\); use one",
    ),
    "data parallel": (
        lambda: nn.DataParallel(nn.Linear(2, 2)),
        r"it is wrapped for several devices; pass the module inside, model\.module",
    ),
    "quantised": (
        _quantised,
        "0: its weights are quantised integers, which have no gradients; give the model from bef",
    ),
    "compiled": (
        lambda: torch.compile(nn.Linear(2, 2)),  # type: ignore[return-value]
        r"compiled models cannot be differentiated twice; pass the original, model\._orig_mod",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_is_told_with_its_remedy(name: str) -> None:
    make, message = PROBLEMS[name]
    model = make()
    with pytest.raises(ValueError, match=f"This model cannot be explained as it is:\n- {message}"):
        validate(model)
    assert len(problems(model)) == 1


@pytest.mark.parametrize("name", sorted({*PROBLEMS} - {"nothing to train"}))
def test_scores_refuse_such_models(name: str) -> None:
    images = torch.ones(1, 2)
    with pytest.raises(ValueError, match="This model cannot be explained as it is"):
        GradCosScore(PROBLEMS[name][0]())(images, images, 0, 0)


def test_every_problem_is_told_at_once() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Dropout(), nn.Embedding(3, 2, max_norm=1)
    )
    model.requires_grad_(False).train()
    with pytest.raises(ValueError, match="cannot be explained") as caught:
        validate(model)
    listed = str(caught.value).splitlines()[1:]
    assert len(listed) == 4
    assert all(line.startswith("- ") for line in listed)
    for part in ("no trainable parameter", "1: BatchNorm", "2: dropout", "3: max_norm"):
        assert any(part in line for line in listed)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
def test_good_models_pass(name: str) -> None:
    validate(NETS[name].model())


def test_training_mode_alone_is_no_problem() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Dropout(0.0), nn.InstanceNorm1d(2))
    validate(model.train())


def test_a_frozen_batch_norm_in_evaluation_mode_is_no_problem() -> None:
    model = small_cnn().train()
    model[1].eval().requires_grad_(False)
    validate(model)


def test_a_model_that_goes_back_to_training_is_refused_at_the_next_call() -> None:
    model = small_cnn().double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    score = GradCosScore(model)
    tests = score.test_gradients(images[:1], 0)
    score(images, images[:1], 0, 1)
    model.train()
    before = model[1].running_mean.clone()
    for call in (
        lambda: score(images, images[:1], 0, 1),
        lambda: score.against(images, 1, tests),
        lambda: score.of_itself(images, 1),
        lambda: score.test_gradients(images[:1], 0),
    ):
        with pytest.raises(ValueError, match="BatchNorm in training mode"):
            call()
    assert torch.equal(model[1].running_mean, before)


@pytest.mark.parametrize("model", [None, "resnet18", torch.ones(2), nn.Linear])
def test_what_is_no_model_is_refused(model: object) -> None:
    with pytest.raises(TypeError, match=r"model is a \w+; it must be a torch\.nn\.Module"):
        validate(model)  # type: ignore[arg-type]

"""Models of timm and transformers, small and random, a family each: exact, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from captum_tfa import GradCosScore, ScoreInfluence
from tests.oracle import EXACT, SlowScore, assert_exact, model_state, randomized, relative_error

timm = pytest.importorskip("timm", reason="timm, an optional package, is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers, an optional package, is not installed"
)

CLASSES, SIDE = 4, 32
VIT = {"img_size": SIDE, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "beit": ("beit_base_patch16_224", VIT),
    "cait": ("cait_xxs24_224", {**VIT, "depth_token_only": 1}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1), "dims": (8, 8, 12, 12)}),
    "deit": ("deit_tiny_distilled_patch16_224", VIT),
    "densenet": ("densenet121", {"growth_rate": 4, "block_config": (2, 2)}),
    "efficientnet": ("efficientnet_lite0", {}),
    "eva": ("eva02_tiny_patch14_224", {**VIT, "num_heads": 2}),
    "ghostnet": ("ghostnet_050", {}),
    "mixer": ("gmixer_12_224", {"img_size": SIDE}),
    "mobilenet": ("mobilenetv3_small_050", {}),
    "regnet": ("regnety_002", {}),
    "resnet": ("resnet10t", {"layers": (1, 1, 1, 1), "channels": (8, 8, 12, 12)}),
    "resnet, normaliser-free": ("nf_regnet_b0", {}),
    "swin": (
        "swin_tiny_patch4_window7_224",
        {
            "img_size": SIDE,
            "embed_dim": 12,
            "depths": (1, 2),
            "num_heads": (1, 2),
            "window_size": 4,
        },
    ),
    "vit": ("vit_tiny_patch16_224", VIT),
}


def _timm(name: str) -> nn.Module:
    architecture, settings = TIMM[name]
    return timm.create_model(architecture, num_classes=CLASSES, **settings)


def _configured(kind: str, **settings: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        config = getattr(transformers, f"{kind}Config")(
            **{"image_size": SIDE, "num_labels": CLASSES, **settings}
        )
        return getattr(transformers, f"{kind}ForImageClassification")(config)

    return make


SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "patch_size": 8,
}
STAGES = {"hidden_sizes": [8, 8, 12, 12], "depths": [1, 1, 1, 1]}
TRANSFORMERS: dict[str, Callable[[], nn.Module]] = {
    "beit": _configured("Beit", **SMALL, use_relative_position_bias=True),
    "convnext": _configured("ConvNext", **STAGES),
    "deit": _configured("DeiT", **SMALL),
    "dinov2": _configured("Dinov2", **{**SMALL, "mlp_ratio": 2}),
    "mobilenet": _configured("MobileNetV2", depth_multiplier=0.25),
    "poolformer": _configured("PoolFormer", **STAGES),
    "resnet": _configured("ResNet", embedding_size=8, layer_type="basic", **STAGES),
    "segformer": _configured(
        "Segformer", **STAGES, num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    ),
    "swin": _configured(
        "Swin", embed_dim=12, depths=[1, 2], num_heads=[1, 2], window_size=4, patch_size=4
    ),
    "vit": _configured("ViT", **SMALL),
}


def _prepared(model: nn.Module) -> nn.Module:
    randomized(model)
    return model.double().eval()


def _assert_right(model: nn.Module, output_fn: Callable[[Any], Tensor] | None = None) -> None:
    model = _prepared(model)
    train, test = torch.randn(3, 3, SIDE, SIDE).double(), torch.randn(1, 3, SIDE, SIDE).double()
    labels, test_label = torch.tensor([0, 3, 1]), torch.tensor([2])
    model(test)  # some note the size of the images
    before = model_state(model)
    score = GradCosScore(model, output_fn=output_fn)
    slow = SlowScore(model, output_fn=output_fn)
    assert_exact(score, slow, train, test, test_label, labels)
    assert model_state(model) == before
    pairs = list(zip(train, labels.tolist(), strict=True))
    ranking = ScoreInfluence(score, pairs, batch_size=2).influence((test, test_label))
    assert relative_error(ranking[0], slow(train, test, test_label, labels).detach()) < EXACT


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    _assert_right(_timm(name))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformers(name: str) -> None:
    _assert_right(TRANSFORMERS[name](), lambda out: out.logits)


def test_transformers_of_words() -> None:
    config = transformers.BertConfig(
        vocab_size=11,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        num_labels=CLASSES,
    )
    model = _prepared(transformers.BertForSequenceClassification(config))
    train, test = torch.randint(11, (3, 6)), torch.randint(11, (1, 6))
    labels = torch.tensor([0, 3, 1])
    score = GradCosScore(model, output_fn=lambda out: out.logits)
    slow = SlowScore(model, output_fn=lambda out: out.logits)
    expected = slow(train, test, 2, labels).detach()
    assert relative_error(score(train, test, 2, labels).detach(), expected) < EXACT


KEEPING: dict[str, tuple[str, int, dict[str, Any]]] = {
    "levit": (
        "levit_128s",
        64,
        {"img_size": 64, "embed_dim": (16, 16, 16), "num_heads": (2, 2, 2), "depth": (1, 1, 1)},
    ),
    "efficientformer": (
        "efficientformer_l1",
        224,
        {"depths": (1, 1, 1, 2), "embed_dims": (8, 8, 8, 16)},
    ),
    "efficientvit": (
        "efficientvit_m0",
        64,
        {"img_size": 64, "embed_dim": (16, 16, 16), "depth": (1, 1, 1)},
    ),
}


@pytest.mark.parametrize("name", KEEPING)
def test_attention_biases_that_are_kept(name: str) -> None:
    architecture, side, settings = KEEPING[name]
    model = _prepared(timm.create_model(architecture, num_classes=CLASSES, **settings))
    train, test = torch.randn(2, 3, side, side).double(), torch.randn(1, 3, side, side).double()
    labels = torch.tensor([0, 3])
    expected = SlowScore(model)(train, test, 2, labels).detach()
    model.train().eval()  # the oracle's passes have left their biases
    score = GradCosScore(model)
    for _ in range(2):
        assert relative_error(score(train, test, 2, labels).detach(), expected) < EXACT
    with torch.no_grad():
        model(train)
    with pytest.raises(RuntimeError, match=r"keeps in '.*', and not the parameter '.*bias"):
        score(train, test, 2, labels)
    model.train().eval()
    assert relative_error(score(train, test, 2, labels).detach(), expected) < EXACT

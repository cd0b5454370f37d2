"""TracIn is Captum's, and the sum of grad-dots of models that were loaded one by one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from captum.attr import (
    LayerFeatureAblation,
    LayerGradientXActivation,
    LayerIntegratedGradients,
    NeuronGradient,
    NoiseTunnel,
    Saliency,
)
from captum.influence import TracInCP, TracInCPFast
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import (
    LayerTrainingGradient,
    ScoreInfluence,
    TracInScore,
    TrainingGradient,
    TrainingIntegratedGradients,
)
from captum_tfa.report import explain
from tests.attr.comparing import assert_same, left_as_found, slow_layer_map
from tests.attr.small_nets import LABELS, pictures, small_net
from tests.oracle import SlowScore, dot, slow_map
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model

TRAIN, TEST = pictures(3, 1), pictures(2, 2)
RATES = [0.5, 0.2, 0.1]


def states(model: nn.Module) -> list[dict[str, Tensor]]:
    """Three states of a model, as of a training."""
    generator = torch.Generator().manual_seed(3)
    return [
        {
            name: tensor + 0.1 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
            if tensor.is_floating_point()
            else tensor
            for name, tensor in model.state_dict().items()
        }
        for _ in RATES
    ]


def at(model: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    return other


def test_ranking_is_captums_over_several_checkpoints() -> None:
    model = small_net()
    found = states(model)
    rates = dict(enumerate(RATES))

    def load(net: nn.Module, checkpoint: Any) -> float:
        net.load_state_dict(found[checkpoint])
        return rates[checkpoint]

    seen = TensorDataset(pictures(8, 5), torch.arange(8) % 3)
    score = TracInScore(model, found, RATES)
    with left_as_found(model):
        given = ScoreInfluence(score, seen, batch_size=3).influence((TEST, LABELS[:2]))
    peer = TracInCP(
        copy.deepcopy(model),
        seen,
        [0, 1, 2],
        load,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),  # its faster way leaves norm layers out
        batch_size=3,
    )
    assert_same(given, peer.influence((TEST, LABELS[:2])).detach())
    best = ScoreInfluence(score, seen).influence((TEST, LABELS[:2]), k=3)
    assert torch.equal(best.indices, given.argsort(1, descending=True)[:, :3])
    itself = ScoreInfluence(score, seen, batch_size=3).self_influence()
    assert_same(itself, peer.self_influence(outer_loop_by_checkpoints=True).detach())


def test_ranking_by_the_last_layer_is_captums_fast_one() -> None:
    model = small_net()
    found = states(model)

    def load(net: nn.Module, checkpoint: Any) -> float:
        net.load_state_dict(found[checkpoint])
        return RATES[checkpoint]

    seen = TensorDataset(pictures(8, 5), torch.arange(8) % 3)
    score = TracInScore(model, found, RATES, parameters=["fc.weight"])  # it leaves the bias out
    given = ScoreInfluence(score, seen).influence((TEST, LABELS[:2]))
    other = copy.deepcopy(model)
    peer = TracInCPFast(
        other, other.fc, seen, [0, 1, 2], load, nn.CrossEntropyLoss(reduction="sum"), batch_size=3
    )
    assert_same(given, peer.influence((TEST, LABELS[:2])).detach())


def slow_sum(model: nn.Module, make: Any) -> Any:
    return sum(
        rate * make(SlowScore(at(model, state), formula=dot))
        for rate, state in zip(RATES, states(model), strict=True)
    )


@pytest.mark.parametrize("at_once", [1, 2, None])
def test_map_is_the_sum_of_the_checkpoints_maps(at_once: int | None) -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    with left_as_found(model):
        given = TrainingGradient(score).attribute(
            TRAIN, LABELS, (TEST[:1], 1), internal_batch_size=at_once
        )
    assert_same(given, slow_sum(model, lambda slow: slow_map(slow, TRAIN, TEST[:1], 1, LABELS)))


def test_several_tests_of_one_image_and_the_models_own_predictions() -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    given = TrainingGradient(score).attribute(TRAIN[:1], None, TEST)
    with torch.no_grad():  # of the model itself, not of a checkpoint
        own, asked = model(TRAIN[:1]).argmax(1), model(TEST).argmax(1)
    train = TRAIN[:1].expand(2, -1, -1, -1)
    assert_same(given, slow_sum(model, lambda slow: slow_map(slow, train, TEST, asked, own)))
    scores = score(train, TEST).detach()
    assert_same(scores, slow_sum(model, lambda slow: slow(train, TEST, asked, own)).detach())


def test_layer_map_is_the_sum_of_the_finished_maps() -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    side = TEST[:1], torch.tensor([1])
    with left_as_found(model):
        layers = [model.conv1, model.conv2]
        given = LayerTrainingGradient(score, layers).attribute(TRAIN[:1], LABELS[:1], side)

    def right(layer: str) -> Any:
        return slow_sum(
            model,
            lambda slow: slow_layer_map(
                slow, getattr(slow.model, layer), TRAIN[:1], *side, LABELS[:1]
            ),
        )

    assert_same(given, [right("conv1"), right("conv2")])


def test_captums_own_methods_and_noise_tunnel_take_it() -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    side = {"additional_forward_args": (TEST[:1], torch.tensor([1]), LABELS)}
    given = Saliency(score).attribute(TRAIN, abs=False, **side)
    assert_same(given, TrainingGradient(score).attribute(TRAIN, LABELS, (TEST[:1], 1)))
    torch.manual_seed(0)
    smooth = NoiseTunnel(TrainingGradient(score)).attribute(
        TRAIN[:1], nt_samples=3, stdevs=0.1, target=0, additional_forward_args=(TEST, LABELS[:2])
    )
    assert smooth.shape == (2, *TRAIN.shape[1:])


def test_captums_layer_methods_would_see_one_checkpoint_and_are_refused() -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    side = {"additional_forward_args": (TEST[:1], torch.tensor([1]), LABELS)}
    with left_as_found(model):
        for method in (
            LayerGradientXActivation(score, model.conv1),
            LayerIntegratedGradients(score, model.conv1),
            LayerFeatureAblation(score, model.conv1),
        ):
            with pytest.raises(RuntimeError, match="once for each checkpoint"):
                method.attribute(TRAIN, **side)
        with pytest.raises(RuntimeError, match="once for each checkpoint"):
            NeuronGradient(score, model.conv1).attribute(TRAIN, (0, 0, 0), **side)


def test_integrated_gradients_sum_to_the_gain() -> None:
    model = small_net()
    model.relu = nn.Softplus()
    score = TracInScore(model, states(model), RATES)
    found = TrainingIntegratedGradients(score).attribute(
        TRAIN[:1], 0.0, 0, (TEST[:1], 1), n_steps=300
    )
    with torch.no_grad():
        gained = score(TRAIN[:1], TEST[:1], 1, 0) - score(0 * TRAIN[:1], TEST[:1], 1, 0)
    assert isinstance(found, Tensor)
    assert found.sum().item() == pytest.approx(gained.item(), rel=1e-4)


def test_checkpoints_may_be_files_and_functions(tmp_path: Path) -> None:
    model = small_net()
    found = states(model)
    torch.save(found[0], tmp_path / "0.pt")
    save_file(found[1], tmp_path / "1.safetensors")
    read: list[int] = []

    def last() -> Mapping[str, Tensor]:
        read.append(2)
        return found[2]

    score = TracInScore(model, [tmp_path / "0.pt", str(tmp_path / "1.safetensors"), last], RATES)
    assert not read
    given = score(TRAIN, TEST[:1], 1, LABELS).detach()
    assert read == [2]
    assert_same(given, TracInScore(model, found, RATES)(TRAIN, TEST[:1], 1, LABELS).detach())


def test_the_model_is_left_as_found_when_something_fails() -> None:
    model = small_net()
    score = TracInScore(model, states(model), RATES)
    with left_as_found(model):
        with pytest.raises(ValueError, match="model has classes 0 to 2"):
            score(TRAIN, TEST[:1], 7, LABELS)
        with pytest.raises(ValueError, match="model has classes 0 to 2"):
            TrainingGradient(score).attribute(TRAIN, 7, TEST[:1])
        with pytest.raises(ValueError, match="does not fit the model"):
            TracInScore(model, [states(model)[0], {}])(TRAIN, TEST[:1], 1, LABELS)
        with pytest.raises(TypeError, match="checkpoint 0 gave a int"):
            TracInScore(model, [lambda: 3])(TRAIN, TEST[:1], 1, LABELS)  # type: ignore[list-item,return-value]


def test_the_users_hooks_see_every_checkpoint() -> None:
    model = small_net()
    seen: list[Tensor] = []
    handle = model.fc.register_forward_hook(lambda _, inputs, output: seen.append(output.detach()))
    TracInScore(model, states(model), RATES)(TRAIN[:1], TEST[:1], 1, 0)
    handle.remove()
    expected = [at(model, state)(TRAIN[:1]).detach() for state in states(model)]
    assert_same(seen, expected)


def test_explain_takes_it() -> None:
    model = tiny_model()
    for name in ("gradient", "integrated_gradients"):
        measured = TracInScore(model, states(model), RATES, measure_fn="margin")
        for score in (TracInScore(model, states(model), RATES), measured):
            found = explain(
                model, TinyPictures(), puzzling_picture(), 1, score=score, k=2, method=name,
                nt_samples=2,
            )  # fmt: skip
            assert found.settings["score"] == "TracIn"
            assert found.proponents[0].test_map.abs().sum() > 0


@pytest.mark.parametrize(
    ("checkpoints", "rates", "error", "message"),
    [
        ([], 1.0, ValueError, "checkpoints is empty"),
        ([3], 1.0, TypeError, "checkpoints holds a int"),
        (["a.pt"], [1.0, 2.0], ValueError, "2 learning rates came for 1 checkpoints"),
        (["a.pt"], float("nan"), ValueError, "must be finite"),
    ],
)
def test_bad_arguments_are_refused(
    checkpoints: Any, rates: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TracInScore(small_net(), checkpoints, rates)

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from captum_tfa import TrainingGradCos
from captum_tfa.demo import SmallCNN
from captum_tfa.metrics.randomisation import PermutedLabels, parameter_randomisation


def weight_picture(name: str) -> Callable[[nn.Module], Tensor]:
    """A stand-in for a map: a layer's own weights, so that what changed can be read off."""

    def maps(model: nn.Module) -> Tensor:
        return model.get_submodule(name).weight.detach().reshape(1, 1, 16, 16)

    return maps


def three_layers() -> nn.Sequential:
    return nn.Sequential(*(nn.Linear(16, 16) for _ in range(3))).eval()


@pytest.mark.parametrize(("cascading", "random"), [(True, ["1", "0"]), (False, ["1"])])
def test_a_layer_is_random_from_its_turn_on_or_in_its_turn_only(
    cascading: bool, random: list[str]
) -> None:
    rows = list(parameter_randomisation(three_layers(), weight_picture("1"), cascading))
    assert [name for name, _ in rows] == ["2", "1", "0"]
    changed = [name for name, found in rows if float(found.rank) < 0.5]
    assert changed == random


def test_a_layer_gets_the_same_weights_in_both_modes_and_at_each_call() -> None:
    model, seen = three_layers(), []

    def maps(given: nn.Module) -> Tensor:
        seen.append(copy.deepcopy(given.state_dict()))
        return torch.rand(1, 1, 16, 16)

    for cascading in (True, False, True):
        list(parameter_randomisation(model, maps, cascading))
    first, alone, again = seen[1:4], seen[5:8], seen[9:12]
    for row, name in enumerate(("2", "1", "0")):
        assert torch.equal(first[row][f"{name}.weight"], alone[row][f"{name}.weight"])
    assert all(torch.equal(first[-1][key], again[-1][key]) for key in first[-1])
    list(parameter_randomisation(model, maps, seed=1))
    assert not torch.equal(first[-1]["0.weight"], seen[-1]["0.weight"])


def test_the_model_and_the_random_state_are_left_as_found() -> None:
    model = SmallCNN(3).eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    list(parameter_randomisation(model, lambda given: torch.ones(1, 1, 16, 16)))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
    assert not model.training


def test_a_reset_layer_is_what_its_class_starts_with() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        model[1].weight.fill_(7)
        model[1].running_mean.fill_(5)
    seen = []

    def maps(given: nn.Module) -> Tensor:
        seen.append(copy.deepcopy(given.state_dict()))
        return torch.ones(1, 1, 16, 16)

    list(parameter_randomisation(model, maps, layers=["1"]))
    assert seen[1]["1.weight"].tolist() == [1.0] * 4
    assert seen[1]["1.running_mean"].tolist() == [0.0] * 4
    assert torch.equal(seen[1]["0.weight"], model[0].weight)


class RawScale(nn.Module):
    """Owns parameters and has no `reset_parameters`."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(3 + 2 * torch.randn(5000))
        self.same = nn.Parameter(torch.full((4,), 9.0))


def test_raw_parameters_keep_their_mean_and_deviation_only() -> None:
    model, seen = nn.Sequential(RawScale()), []

    def maps(given: nn.Module) -> Tensor:
        seen.append({key: value.detach().clone() for key, value in given.named_parameters()})
        return torch.ones(1, 1, 16, 16)

    list(parameter_randomisation(model, maps))
    trained, drawn = seen[0]["0.scale"], seen[1]["0.scale"]
    assert abs(float(torch.corrcoef(torch.stack([trained, drawn]))[0, 1])) < 0.06
    assert float(drawn.mean()) == pytest.approx(3, abs=0.15)
    assert float(drawn.std()) == pytest.approx(2, abs=0.15)
    assert seen[1]["0.same"].tolist() == [9.0] * 4  # no deviation, nothing was learned


class Nested(nn.Module):
    """Owns a parameter, and a layer that is no part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.token = nn.Parameter(torch.randn(16, 16))


@pytest.mark.parametrize(
    ("layers", "changed"),
    [(None, {"0.layer": {"layer"}, "0": {"token"}}), (["0"], {"0": {"layer", "token"}})],
)
def test_a_module_stands_for_its_own_parameters_unless_it_is_named(
    layers: list[str] | None, changed: dict[str, set[str]]
) -> None:
    model, seen = nn.Sequential(Nested()), []

    def maps(given: nn.Module) -> Tensor:
        seen.append([copy.deepcopy(given[0].layer.weight), copy.deepcopy(given[0].token)])
        return torch.ones(1, 1, 16, 16)

    names = [name for name, _ in parameter_randomisation(model, maps, False, layers)]
    found = {
        name: {
            part
            for part, before, now in zip(("layer", "token"), seen[0], after, strict=True)
            if not torch.equal(before, now)
        }
        for name, after in zip(names, seen[1:], strict=True)
    }
    assert found == changed


def test_weights_behind_a_parametrisation_are_random_too() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(16, 16)))
    inputs = torch.randn(16, 16)

    def maps(given: nn.Module) -> Tensor:
        return given(inputs).detach().reshape(1, 1, 16, 16)  # type: ignore[no-any-return]

    *_, (_, found) = parameter_randomisation(model, maps)
    assert abs(float(found.rank)) < 0.5


def test_maps_of_training_images_change_with_the_learned_weights() -> None:
    model = SmallCNN(3).eval()
    train, test = torch.randn(2, 3, 16, 16), torch.randn(2, 3, 16, 16)

    def maps(given: nn.Module) -> Tensor:
        found: Tensor = TrainingGradCos(given).attribute(
            train, target=torch.tensor([0, 1]), additional_forward_args=(test, torch.tensor([0, 1]))
        )
        return found

    rows = list(parameter_randomisation(model, maps, layers=["9", "5", "0"]))
    assert [name for name, _ in rows] == ["9", "5", "0"]
    assert all(found.rank.shape == (2,) for _, found in rows)
    assert float(rows[-1][1].rank.max()) < 0.9


def test_random_weights_are_not_those_that_a_model_with_the_same_seed_began_with() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16))
    ((_, found),) = parameter_randomisation(model, weight_picture("0"), seed=0)
    assert abs(float(found.rank)) < 0.5


@pytest.mark.parametrize(
    ("model", "layers"),
    [(three_layers(), ["2", "7"]), (three_layers(), []), (nn.Sequential(nn.ReLU()), None)],
)
def test_layers_must_be_the_models(model: nn.Module, layers: list[str] | None) -> None:
    with pytest.raises(ValueError, match="name submodules as"):
        list(parameter_randomisation(model, lambda given: torch.ones(1, 1, 16, 16), layers=layers))


def test_permuted_labels_keep_the_inputs_and_the_count_of_each_label() -> None:
    images, labels = torch.randn(60, 2), torch.arange(60) % 3
    state = torch.get_rng_state()
    permuted = PermutedLabels(TensorDataset(images, labels), seed=1)  # type: ignore[arg-type]
    assert torch.equal(state, torch.get_rng_state())
    found = torch.stack([label for _, label in (permuted[i] for i in range(len(permuted)))])
    assert torch.equal(torch.stack([permuted[i][0] for i in range(60)]), images)
    assert found.bincount().tolist() == [20, 20, 20]
    assert not torch.equal(found, labels)


def test_permuted_labels_follow_the_seed() -> None:
    dataset = TensorDataset(torch.arange(50), torch.arange(50))
    orders = [
        [int(label) for _, label in (PermutedLabels(dataset, seed)[i] for i in range(50))]  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_an_empty_data_set_has_no_labels_to_permute() -> None:
    with pytest.raises(ValueError, match="is empty"):
        PermutedLabels(TensorDataset(torch.zeros(0), torch.zeros(0)))  # type: ignore[arg-type]

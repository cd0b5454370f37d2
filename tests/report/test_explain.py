from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
import torch
from captum.attr import LayerAttribution
from torch import nn
from torch.utils.data import Subset, TensorDataset

from captum_tfa import GradCosScore, LayerTrainingGradCos, ScoreInfluence, TrainingGradCos
from captum_tfa.report import Explanation, explain
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model


def quick(**changes: Any) -> Explanation:
    given: dict[str, Any] = {
        "model": tiny_model(),
        "train_dataset": TinyPictures(),
        "test_input": puzzling_picture(),
        "test_target": 1,
        "nt_samples": 2,
        "score": "grad-cos",
        **changes,
    }
    return explain(**given)


def scores(label: int) -> torch.Tensor:
    test = puzzling_picture().unsqueeze(0), torch.tensor([label])
    found = ScoreInfluence(GradCosScore(tiny_model()), TinyPictures()).influence(test)
    assert isinstance(found, torch.Tensor)
    return found[0]


def test_proponents_are_the_highest_scores_and_opponents_the_lowest() -> None:
    found, all_scores = quick(k=3), scores(1)
    assert [e.index for e in found.proponents] == all_scores.argsort(descending=True)[:3].tolist()
    assert [e.index for e in found.opponents] == all_scores.argsort()[:3].tolist()
    for example in (*found.proponents, *found.opponents):
        assert example.score == pytest.approx(float(all_scores[example.index]))
        assert example.label == example.index % 3
        assert example.label_name == ["ant", "bee", "cat"][example.label]


def test_no_image_stands_on_both_sides_and_few_images_give_few_entries() -> None:
    found = quick(k=50)
    assert all(example.score > 0 for example in found.proponents)
    assert all(example.score < 0 for example in found.opponents)
    indices = [e.index for e in (*found.proponents, *found.opponents)]
    assert sorted(indices) == sorted(torch.nonzero(scores(1)).flatten().tolist())


def test_without_a_label_it_asks_about_the_prediction() -> None:
    predicted = int(tiny_model()(puzzling_picture().unsqueeze(0)).argmax())
    asked, told = quick(test_target=None), quick(test_target=predicted)
    assert asked.label == asked.predicted == predicted
    assert not asked.label_given
    assert told.label_given
    assert [e.score for e in asked.opponents] == [e.score for e in told.opponents]


def test_confidence_is_the_softmax_probability_of_the_prediction() -> None:
    probabilities = tiny_model()(puzzling_picture().unsqueeze(0)).softmax(dim=1).detach()
    assert quick().confidence == pytest.approx(float(probabilities.max()))


def test_the_answers_are_the_most_probable_classes_best_first() -> None:
    probabilities = tiny_model()(puzzling_picture().unsqueeze(0)).softmax(dim=1)[0].detach()
    order = probabilities.argsort(descending=True).tolist()
    answers = quick().answers
    assert [answer.label for answer in answers] == order
    assert [answer.name for answer in answers] == [["ant", "bee", "cat"][label] for label in order]
    for answer in answers:
        assert answer.probability == pytest.approx(float(probabilities[answer.label]))


def test_of_many_classes_five_answers_are_told() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = tiny_model(), nn.Linear(3, 9)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.last(self.inner(x))
            return logits

    answers = quick(model=Wide().eval()).answers
    assert len(answers) == 5
    assert answers[0].probability >= answers[4].probability
    assert [answer.name for answer in answers if answer.label > 2] == [
        str(answer.label) for answer in answers if answer.label > 2
    ]


def test_several_methods_give_the_maps_that_each_gives_alone() -> None:
    both = quick(method=["occlusion", "gradient"], seed=3)
    alone = {name: quick(method=name, seed=3) for name in ("occlusion", "gradient")}
    assert both.method.name == "occlusion"
    assert [method.name for method in both.more_methods] == ["gradient"]
    assert both.settings["method"] == "occlusion,gradient"
    for side in ("proponents", "opponents"):
        for place, example in enumerate(getattr(both, side)):
            maps = {method.name: maps for method, maps in both.maps(example).items()}
            assert torch.equal(maps["occlusion"][0], example.map)
            for name, (of_train, of_test) in maps.items():
                expected = getattr(alone[name], side)[place]
                assert torch.equal(of_train, expected.map)
                assert torch.equal(of_test, expected.test_map)


def test_it_tells_when_it_was_made_and_how_long_it_took() -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    found = quick()
    assert found.made is not None
    assert before <= datetime.fromisoformat(found.made) <= datetime.now(timezone.utc)
    assert found.seconds is not None
    assert 0 < found.seconds < 600


def test_without_noise_a_map_is_the_plain_gradient_of_the_score() -> None:
    example = quick(method="gradient", noise_level=0.0).opponents[0]
    picture, label = TinyPictures()[example.index]
    expected = TrainingGradCos(tiny_model()).attribute(
        picture.unsqueeze(0),
        target=label,
        additional_forward_args=(puzzling_picture().unsqueeze(0), torch.tensor([1])),
    )
    assert torch.allclose(example.map, expected[0], atol=1e-7)


def test_a_map_is_the_mean_over_noise_of_a_tenth_of_the_images_own_range() -> None:
    example = quick(method="gradient", nt_samples=3, noise_level=0.1, seed=4).proponents[0]
    picture, label = TinyPictures()[example.index]
    spread = 0.1 * float(picture.max() - picture.min())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        noise = torch.normal(0, torch.full((3, *picture.shape), spread))
    maps = TrainingGradCos(tiny_model()).attribute(
        picture + noise,
        target=label,
        additional_forward_args=(puzzling_picture().unsqueeze(0), torch.tensor([1])),
    )
    assert torch.allclose(example.map, maps.mean(dim=0), atol=1e-6)


def test_a_layer_map_is_the_upsampled_mean_over_channels() -> None:
    model = tiny_model()
    by_name = quick(model=model, layer="0", noise_level=0.0).opponents[0]
    by_module = quick(model=model, layer=model[0], noise_level=0.0).opponents[0]
    picture, label = TinyPictures()[by_name.index]
    gradient = LayerTrainingGradCos(model, model[0]).attribute(
        picture.unsqueeze(0),
        target=label,
        additional_forward_args=(puzzling_picture().unsqueeze(0), torch.tensor([1])),
    )
    assert gradient.shape == (1, 4, 3, 3)
    expected = LayerAttribution.interpolate(gradient.mean(dim=1, keepdim=True), (8, 8), "bilinear")
    assert by_name.map.shape == (1, 8, 8)
    assert torch.allclose(by_name.map, expected[0], atol=1e-7)
    assert torch.equal(by_name.map, by_module.map)


def test_the_test_images_map_of_a_layer_is_the_same_with_the_roles_swapped() -> None:
    model = tiny_model()
    example = quick(model=model, layer="0", noise_level=0.0).opponents[0]
    picture, label = TinyPictures()[example.index]
    gradient = LayerTrainingGradCos(model, model[0]).attribute(
        puzzling_picture().unsqueeze(0),
        target=1,
        additional_forward_args=(picture.unsqueeze(0), label.unsqueeze(0)),
    )
    expected = LayerAttribution.interpolate(gradient.mean(dim=1, keepdim=True), (8, 8), "bilinear")
    assert torch.allclose(example.test_map, expected[0], atol=1e-7)


def test_same_seed_same_maps_whatever_k_and_batch_sizes() -> None:
    first = quick(method="gradient", k=1, seed=2).opponents[0]
    again = quick(method="gradient", k=4, seed=2, batch_size=5, internal_batch_size=1).opponents[0]
    other = quick(method="gradient", k=1, seed=3).opponents[0]
    assert torch.allclose(first.map, again.map, atol=1e-7)
    assert not torch.allclose(first.map, other.map, atol=1e-7)


def test_random_state_model_and_hooks_are_left_alone() -> None:
    model, state = tiny_model(), torch.get_rng_state()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    quick(model=model, layer="0")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_loss_output_and_parameters_are_passed_on() -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = tiny_model()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.inner(x)}

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.3)

    wrapped, plain = Wrapped().eval(), tiny_model()
    found = quick(
        model=wrapped, output_fn=lambda out: out["logits"], loss_fn=loss, parameters=["inner.5"]
    )
    expected = quick(model=plain, loss_fn=loss, parameters=["5"])
    assert [e.index for e in found.opponents] == [e.index for e in expected.opponents]
    assert [e.score for e in found.opponents] == [e.score for e in expected.opponents]
    assert found.settings["loss"] == "loss"
    assert [e.score for e in found.opponents] != [e.score for e in quick().opponents]


def test_a_batch_of_one_and_a_tensor_label_are_as_good() -> None:
    plain = quick()
    same = quick(test_input=puzzling_picture().unsqueeze(0), test_target=torch.tensor(1))
    assert [e.index for e in plain.proponents] == [e.index for e in same.proponents]
    assert same.test_image.shape == (3, 8, 8)


def test_a_subset_gives_its_own_indices_and_the_names_below_it() -> None:
    found = quick(train_dataset=Subset(TinyPictures(), [7, 3, 1, 10]), k=2)
    chosen = {7: 0, 3: 1, 1: 2, 10: 3}
    for example in found.opponents:
        assert example.index in chosen.values()
        assert example.label_name in ("ant", "bee", "cat")


def test_names_given_by_the_user_win_and_numbers_stand_in() -> None:
    assert quick(class_names=["x", "y", "z"]).label_name == "y"
    data = TinyPictures()
    assert quick(train_dataset=TensorDataset(*data.tensors)).label_name == "1"


def test_settings_and_versions_tell_how_it_was_made() -> None:
    found = quick(seed=7, k=2, layer="0")
    assert found.settings["seed"] == 7
    assert found.settings["k"] == 2
    assert found.settings["nt_samples"] == 2
    assert found.settings["layer"] == "0"
    assert found.settings["method"] == "gradient"
    assert found.settings["training_examples"] == 12
    assert found.versions["torch"] == torch.__version__
    assert {"python", "captum", "captum_tfa"} <= set(found.versions)
    json.dumps(dict(found.settings))


def test_maps_of_a_perfectly_fitted_image_are_zero_and_can_be_drawn() -> None:
    model = tiny_model()
    with torch.no_grad():
        model[5].bias[0] = 200.0  # class 0 with probability 1: pictures of it have no gradient
    with pytest.warns(UserWarning, match="zero"):
        found = quick(model=model, test_target=1, k=12)
    assert all(example.label != 0 for example in (*found.proponents, *found.opponents))
    found.plot()


def test_progress_goes_to_stderr_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    quick()
    assert capsys.readouterr().err == ""
    quick(show_progress=True)
    shown = capsys.readouterr()
    assert "mapping" in shown.err
    assert shown.out == ""

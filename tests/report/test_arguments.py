from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from captum_tfa import InfluenceScore
from captum_tfa.curvature import fit_curvature
from captum_tfa.report import arguments, explain
from tests.report.tiny import TinyPictures, puzzling_picture, tiny_model


def refused(message: str, **changes: Any) -> None:
    """Asserts that explain() refuses the changed argument, before any training image is ranked."""
    given: dict[str, Any] = {
        "model": tiny_model(),
        "train_dataset": TinyPictures(),
        "test_input": puzzling_picture(),
        "nt_samples": 1,
        **changes,
    }
    with pytest.raises(ValueError, match=message):
        explain(**given)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 0),
        ("k", -1),
        ("k", 2.0),
        ("k", True),
        ("nt_samples", 0),
        ("noise_level", -0.1),
        ("noise_level", float("nan")),
        ("noise_level", float("inf")),
        ("batch_size", 0),
        ("num_workers", -1),
        ("internal_batch_size", 0),
    ],
)
def test_numbers_out_of_range_are_named(name: str, value: object) -> None:
    refused(f"{name} is {value}", **{name: value})


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(8, 8),
        torch.zeros(2, 3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        [[0.0]],
    ],
)
def test_a_test_input_that_is_not_one_image_is_refused(image: object) -> None:
    refused("test_input is", test_input=image)


def test_a_test_input_that_is_not_finite_is_refused() -> None:
    refused("NaN or infinity", test_input=torch.full((3, 8, 8), float("inf")))


@pytest.mark.parametrize("target", [3, -1])
def test_a_label_out_of_range_is_refused(target: int) -> None:
    refused("classes are 0 to 2", test_target=target)


@pytest.mark.parametrize("target", ["bee", 1.5, True, torch.tensor([0, 1])])
def test_a_label_that_is_no_class_number_is_refused(target: object) -> None:
    refused("test_target is", test_target=target)


def test_a_layer_the_model_does_not_have_is_refused_with_near_names() -> None:
    refused("no layer 'conv1'; it has", layer="conv1")
    refused("no part of the model", layer=nn.Conv2d(3, 3, 3))


def test_a_layer_without_places_is_refused() -> None:
    refused(r"gives the shape \[1, 3\]", layer="5")


def test_a_layer_that_is_not_called_is_refused_and_keeps_no_hook() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = tiny_model(), nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.used(x)
            return logits

    model = Lazy().eval()
    refused("called 0 times", model=model, layer="unused")
    assert not model.unused._forward_hooks


def test_a_method_that_there_is_not_is_refused_with_those_there_are() -> None:
    refused(
        "method is 'magic'; it must be one of gradient, gradient_x_input, .*occlusion",
        method="magic",
    )
    refused(
        "method is 'occlusion' and layer is given.*leave out one", method="occlusion", layer="0"
    )


def test_a_model_in_training_mode_is_refused_with_the_remedy() -> None:
    refused(r"model\.eval\(\)", model=tiny_model().train())


def test_a_model_without_logits_is_refused() -> None:
    refused("output_fn", model=nn.Sequential(nn.Conv2d(3, 3, 3)).eval())


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], None, "belong together"),
        (None, [0.5], "belong together"),
        ([0.5, 0.5], [1.0, 1.0], "1 or 3 numbers"),
        ([0.5], [0.0], "above 0"),
    ],
)
def test_statistics_that_cannot_be_are_refused(mean: Any, std: Any, message: str) -> None:
    refused(message, mean=mean, std=std)


def test_class_names_that_are_not_one_a_class_are_refused() -> None:
    refused("has 2 names; the model has 3", class_names=["a", "b"])


class Listed(Dataset[Any]):
    """A data set of whatever it is given."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


PICTURE = torch.zeros(3, 8, 8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Listed(), "is empty"),
        (Stream(), "map-style"),
        (iter([]), "map-style"),
        (Listed(PICTURE), r"train_dataset\[0\] is a tensor"),
        (Listed((PICTURE,)), r"train_dataset\[0\] is a tuple of 1"),
        (Listed((PICTURE.byte(), 1)), "transform to tensor"),
        (Listed((PICTURE[0], 1)), "transform to tensor"),
        (Listed((PICTURE, torch.zeros(3))), "one whole number"),
        (Listed((PICTURE, 0.5)), "one whole number"),
        (Listed((PICTURE, "bee")), "one whole number"),
        (Listed((PICTURE[:1], 1)), "has 1 channels and test_input 3"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused(data: Any, message: str) -> None:
    refused(message, train_dataset=data)


def test_random_transforms_are_refused() -> None:
    class Flickering(TinyPictures):
        def __getitem__(self, index: int) -> tuple[Tensor, ...]:
            image, label = super().__getitem__(index)
            return image + torch.rand(1), label

    refused("another image each time", train_dataset=Flickering())


@pytest.mark.parametrize("label", [2, torch.tensor(2), np.int64(2), torch.tensor([2])])
def test_whole_numbers_of_any_kind_are_labels(label: object) -> None:
    assert arguments.example(Listed((PICTURE, label)), 0)[1] == 2


def test_a_tensor_dataset_can_be_used() -> None:
    data = TensorDataset(torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.long))
    assert arguments.check_dataset(data, 3) == 4


@pytest.mark.parametrize("seed", [None, "a", 1.5, True, -1, 2**64])
def test_seeds_that_are_no_seeds_are_named(seed: object) -> None:
    refused("seed is .*whole number from 0 to 18446744073709551615", seed=seed)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, torch.tensor])
def test_whole_numbers_of_every_kind_are_taken(kind: Any) -> None:
    found = explain(
        tiny_model(), TinyPictures(), puzzling_picture(), kind(2), kind(1), kind(1), seed=kind(3)
    )
    assert found.label == 2
    assert len(found.proponents) == 1
    assert (found.settings["k"], found.settings["seed"]) == (1, 3)


def _one_logit() -> nn.Module:
    model = tiny_model()
    model[5] = nn.Linear(4, 1)
    return model


class TwoClasses(TinyPictures):
    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return image, int(label > 0)


@pytest.mark.parametrize("squeezed", [False, True])
def test_one_logit_is_a_model_of_two_classes(squeezed: bool) -> None:
    model, loss = _one_logit(), nn.BCEWithLogitsLoss(reduction="none")
    pick = (lambda out: out.squeeze(1)) if squeezed else None
    image = puzzling_picture()
    found = explain(model, TwoClasses(), image, loss_fn=loss, output_fn=pick, k=12, nt_samples=1)
    logit = float(model(image[None]).detach())
    assert found.predicted == int(logit > 0)
    assert found.confidence == pytest.approx(1 / (1 + np.exp(-abs(logit))), rel=1e-5)
    curvature = fit_curvature(model, TwoClasses(), loss_fn=loss, output_fn=pick)
    score = InfluenceScore(model, curvature, loss_fn=loss)
    for example in (*found.proponents, *found.opponents):
        train, label = TwoClasses()[example.index]
        expected = score(train[None], image[None], torch.tensor([found.label]), label)
        assert example.score == pytest.approx(float(expected.detach()), abs=1e-5)
    asked = explain(
        model, TwoClasses(), image, 1 - found.predicted, k=1, nt_samples=1, loss_fn=loss
    )
    assert asked.label == 1 - found.predicted


def test_one_number_without_a_loss_for_it_says_what_to_do() -> None:
    message = r"one number for an image.*BCEWithLogitsLoss\(reduction='none'\).*for regression rank"
    refused(message, model=_one_logit(), train_dataset=TwoClasses())
    refused(
        message,
        model=_one_logit(),
        train_dataset=TwoClasses(),
        loss_fn=nn.MSELoss(reduction="none"),
    )


class RandomFrom(TinyPictures):
    """Gives other images each time, from some index on."""

    def __init__(self, start: int, count: int) -> None:
        super().__init__(count)
        self.start = start

    def __getitem__(self, index: int) -> Any:
        image, label = super().__getitem__(index)
        return image + torch.rand(()) if index >= self.start else image, label


@pytest.mark.parametrize("start", [0, 20, 300])
def test_images_that_are_random_from_some_index_on_are_noticed(start: int) -> None:
    refused("is another image each time", train_dataset=RandomFrom(start, 400), k=3)


def test_an_image_that_is_not_the_one_that_was_ranked_is_noticed() -> None:
    class ChangesOnce(TinyPictures):
        """One image that no check looks at is another one the third time."""

        def __init__(self) -> None:
            super().__init__(100)
            self.asked = [0] * 100

        def __getitem__(self, index: int) -> Any:
            self.asked[index] += 1
            image, label = super().__getitem__(index)
            return image.flip(1) if self.asked[index] > 1 and index % 33 else image, label

    pictures = ChangesOnce()
    with pytest.raises(ValueError, match=r"train_dataset\[\d+\] (scored|is another image)"):
        explain(tiny_model(), pictures, puzzling_picture(), k=20, nt_samples=1)

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from torch.utils.data import Subset

from captum_tfa.metrics.measured_output import MeasuredOutput
from captum_tfa.metrics.retraining import Change, read_runs, retrain_each
from tests.metrics.trainings import by_gradient, descend, two_classes

DATA = two_classes()
HALF = torch.arange(6)
CHANGES = {
    "everything": Change(DATA, {}),
    "half": Change(Subset(DATA, HALF.tolist()), {"members": HALF}),
}
MEASURE = MeasuredOutput(*DATA.tensors)


def test_each_model_is_the_one_of_its_seed(tmp_path: Path) -> None:
    found = retrain_each(by_gradient, CHANGES, MEASURE, tmp_path, seeds=(2, 5))
    for name, change in CHANGES.items():
        for row, seed in enumerate((2, 5)):
            torch.manual_seed(seed)
            assert torch.equal(found[name][row], MEASURE(by_gradient(change.dataset, seed)))


def test_a_file_alone_tells_what_it_is(tmp_path: Path) -> None:
    retrain_each(by_gradient, CHANGES, MEASURE, tmp_path, settings={"steps": 2})
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "everything, seed 0.safetensors",
        "half, seed 0.safetensors",
        "settings.json",
    ]
    with safe_open(tmp_path / "half, seed 0.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("members"), HALF)
        facts = json.loads(file.metadata()["facts"])
    assert facts["change"] == "half"
    assert facts["seed"] == 0
    assert facts["seconds"] >= 0
    assert facts["settings"] == {"steps": 2, "start": "fresh", **MEASURE.settings}
    assert [(name, seed) for name, seed, _ in read_runs(tmp_path)] == [
        ("everything", 0),
        ("half", 0),
    ]


def test_other_test_images_and_other_outputs_are_refused(tmp_path: Path) -> None:
    retrain_each(by_gradient, CHANGES, MEASURE, tmp_path)
    x, y = DATA.tensors
    with pytest.raises(ValueError, match="queries_hash"):
        retrain_each(by_gradient, CHANGES, MeasuredOutput(x + 1, y), tmp_path)
    with pytest.raises(ValueError, match="output: 'margin' in the folder, 'logit' now"):
        retrain_each(by_gradient, CHANGES, MeasuredOutput(x, y, "logit"), tmp_path)


def test_models_of_another_network_are_not_added(tmp_path: Path) -> None:
    retrain_each(by_gradient, {"half": CHANGES["half"]}, MEASURE, tmp_path)

    def deeper(dataset, seed):
        return descend(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), dataset)

    with pytest.raises(ValueError, match="the network or its initialisation is another"):
        retrain_each(deeper, CHANGES, MEASURE, tmp_path)


def test_a_training_that_goes_on_leaves_no_result(tmp_path: Path) -> None:
    model = descend(nn.Linear(3, 2), DATA)
    with pytest.raises(ValueError, match="begin at the same weights"):
        retrain_each(lambda data, seed: descend(model, data), CHANGES, MEASURE, tmp_path)
    assert list(read_runs(tmp_path)) == []


def test_from_a_checkpoint_and_from_scratch_are_two_experiments(tmp_path: Path) -> None:
    checkpoint = by_gradient(DATA, 0)

    def go_on(dataset, seed):
        return descend(copy.deepcopy(checkpoint), dataset)

    found = retrain_each(go_on, CHANGES, MEASURE, tmp_path, start=checkpoint)
    torch.manual_seed(0)
    assert torch.equal(found["half"][0], MEASURE(go_on(CHANGES["half"].dataset, 0)))
    with pytest.raises(ValueError, match="start: 'checkpoint' in the folder, 'fresh' now"):
        retrain_each(by_gradient, CHANGES, MEASURE, tmp_path)
    with pytest.raises(ValueError, match="begin at the same weights"):
        retrain_each(go_on, CHANGES, MEASURE, tmp_path / "other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"changes": {}}, "there are 0 training sets"),
        ({"seeds": ()}, r"the seeds \[\]"),
        ({"seeds": (1, 1)}, "no seed twice"),
        ({"measure": lambda model: torch.ones(2, 2)}, r"measure gave \[2, 2\]"),
        ({"measure": lambda model: torch.tensor([torch.nan])}, "not finite"),
        ({"measure": lambda model: 1.0}, "measure gave float"),
        ({"changes": {"a/b": CHANGES["half"]}}, "cannot name a file"),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, options, message: str) -> None:
    asked = {"changes": CHANGES, "measure": MEASURE, "directory": tmp_path, **options}
    with pytest.raises(ValueError, match=message):
        retrain_each(by_gradient, **asked)

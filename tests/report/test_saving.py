from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import load_file

from captum_tfa.report import saving
from captum_tfa.report.explanation import Answer
from captum_tfa.report.methods import METHODS
from tests.report.tiny import explanation, training_example

FILES = {"figure.png", "explanation.json", "maps.safetensors", "report.html"}


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_writes_three_files_and_nothing_beside_them(tmp_path: Path) -> None:
    where = explanation().save(tmp_path / "why")
    assert where == tmp_path / "why"
    assert names(where) == FILES
    assert names(tmp_path) == {"why"}
    with Image.open(where / "figure.png") as figure:
        assert min(figure.size) > 500


def test_json_holds_scores_labels_settings_and_versions(tmp_path: Path) -> None:
    given = explanation()
    told = json.loads((given.save(tmp_path / "why") / "explanation.json").read_text())
    assert told["test"]["predicted_name"] == "bee"
    assert told["test"]["label"] == 0
    assert [entry["index"] for entry in told["opponents"]] == [2, 3, 4]
    assert [entry["score"] for entry in told["proponents"]] == [e.score for e in given.proponents]
    assert told["settings"]["seed"] == 0
    assert told["versions"] == {"torch": "x"}


def test_tensors_come_back_exactly(tmp_path: Path) -> None:
    given = explanation()
    tensors = load_file(given.save(tmp_path / "why") / "maps.safetensors")
    assert torch.equal(tensors["test_image"], given.test_image)
    assert torch.equal(tensors["opponent_maps"], torch.stack([e.map for e in given.opponents]))
    assert torch.equal(
        tensors["proponent_images"], torch.stack([e.image for e in given.proponents])
    )
    for side, examples in (("proponent", given.proponents), ("opponent", given.opponents)):
        expected = torch.stack([example.test_map for example in examples])
        assert torch.equal(tensors[f"{side}_test_maps"], expected)
    assert tensors["proponent_maps"].shape == (2, 3, 8, 8)


def test_the_maps_of_further_methods_come_back_under_their_names(tmp_path: Path) -> None:
    maps = torch.ones(3, 8, 8), torch.zeros(3, 8, 8)
    examples = tuple(
        replace(training_example(index, 0.5), more_maps={"gradient": maps}) for index in range(2)
    )
    given = explanation(
        method=METHODS["occlusion"], more_methods=(METHODS["gradient"],), proponents=examples
    )
    given = replace(given, opponents=())
    tensors = load_file(given.save(tmp_path / "why") / "maps.safetensors")
    assert torch.equal(tensors["proponent_maps"], torch.stack([e.map for e in examples]))
    assert torch.equal(tensors["proponent_maps.gradient"], torch.ones(2, 3, 8, 8))
    assert torch.equal(tensors["proponent_test_maps.gradient"], torch.zeros(2, 3, 8, 8))
    assert len(tensors["opponent_maps.gradient"]) == 0


def test_the_answers_stand_in_the_json(tmp_path: Path) -> None:
    given = explanation(answers=(Answer(1, "bee", 0.875), Answer(0, "ant", 0.125)))
    told = json.loads((given.save(tmp_path / "why") / "explanation.json").read_text())
    assert told["test"]["answers"] == [
        {"label": 1, "label_name": "bee", "probability": 0.875},
        {"label": 0, "label_name": "ant", "probability": 0.125},
    ]


def test_a_side_without_images_has_empty_tensors(tmp_path: Path) -> None:
    tensors = load_file(explanation(proponents=()).save(tmp_path / "why") / "maps.safetensors")
    assert len(tensors["proponent_maps"]) == len(tensors["proponent_test_maps"]) == 0
    assert len(tensors["opponent_maps"]) == 3


def test_missing_parents_are_made(tmp_path: Path) -> None:
    assert names(explanation().save(tmp_path / "a" / "b" / "why")) == FILES


def test_an_empty_folder_and_an_earlier_explanation_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "why").mkdir()
    explanation().save(tmp_path / "why")
    explanation(label_name="wasp").save(tmp_path / "why")
    told = json.loads((tmp_path / "why" / "explanation.json").read_text())
    assert told["test"]["label_name"] == "wasp"
    assert names(tmp_path) == {"why"}


@pytest.mark.parametrize(
    "files",
    [
        {"thesis.txt": "all my work"},
        {"figure.png": "mine"},
        {"explanation.json": "{}"},
        {"explanation.json": "[]"},
        {"explanation.json": '{"format": "captum_tfa.explanation"}', "notes.txt": "mine"},
    ],
)
def test_other_peoples_files_are_never_replaced(tmp_path: Path, files: dict[str, str]) -> None:
    folder = tmp_path / "why"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(FileExistsError, match="new or empty"):
        explanation().save(folder)
    assert {name: (folder / name).read_text() for name in names(folder)} == files
    assert names(tmp_path) == {"why"}


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "why").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        explanation().save(tmp_path / "why")
    with pytest.raises(FileExistsError, match="is a file"):
        explanation().save(tmp_path / "why" / "below")
    assert (tmp_path / "why").read_text() == "mine"


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_on_the_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise failure

    monkeypatch.setattr(Figure, "savefig", fail)  # the last of the three files
    with pytest.raises(type(failure)):
        explanation().save(tmp_path / "new" / "why")
    assert names(tmp_path) == set()


def test_a_failure_on_the_way_keeps_the_earlier_explanation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explanation().save(tmp_path / "why")
    before = (tmp_path / "why" / "explanation.json").read_text()
    rename = Path.rename

    def fail_for_new(self: Path, target: Path) -> Path:
        if self.name.endswith(".new"):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="no"):
        explanation(label_name="wasp").save(tmp_path / "why")
    assert (tmp_path / "why" / "explanation.json").read_text() == before
    assert names(tmp_path / "why") == FILES
    assert names(tmp_path) == {"why"}


def test_a_score_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    broken = training_example(0, float("nan"))
    with pytest.raises(ValueError, match="JSON"):
        explanation(proponents=(broken,)).save(tmp_path / "why")
    assert names(tmp_path) == set()


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    explanation().save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path / "real") == FILES


def test_the_folder_can_be_checked_before_the_long_work(tmp_path: Path) -> None:
    assert saving.check_destination(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match=r"mine\.txt"):
        saving.check_destination(tmp_path)

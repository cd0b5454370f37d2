from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from PIL import Image
from torchvision.transforms import PILToTensor

from captum_tfa.cli import data
from captum_tfa.cli.errors import UserError
from tests.cli.conftest import write_picture


def test_train_is_taken_if_there_is_one(tmp_path: Path) -> None:
    assert data.training_root(str(tmp_path)) == tmp_path
    (tmp_path / "train").mkdir()
    assert data.training_root(str(tmp_path)) == tmp_path / "train"


def test_a_folder_with_missing_classes_keeps_the_labels(tmp_path: Path) -> None:
    write_picture(tmp_path / "b" / "0.png", 0)
    write_picture(tmp_path / "c" / "0.png", 0)
    folder = data.open_folder(tmp_path, ["a", "b", "c"], PILToTensor())
    assert [label for _, label in folder.samples] == [1, 2]
    assert folder.classes == ["a", "b", "c"]
    assert folder[1][1] == 2


def test_a_class_that_training_does_not_have_is_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "b" / "0.png", 0)
    write_picture(tmp_path / "x" / "0.png", 0)
    with pytest.raises(UserError, match=r"class x, which .* are a, b"):
        data.open_folder(tmp_path, ["a", "b"], PILToTensor())


def test_a_folder_can_be_sent_to_loading_processes(tmp_path: Path) -> None:
    write_picture(tmp_path / "a" / "0.png", 0)
    write_picture(tmp_path / "b" / "0.png", 0)
    folder = data.open_folder(tmp_path, ["a", "b"], PILToTensor())
    assert pickle.loads(pickle.dumps(folder))[0][0].equal(folder[0][0])


def test_every_picture_comes_in_colour(tmp_path: Path) -> None:
    for mode in ("L", "P", "RGBA", "1", "CMYK"):
        file = tmp_path / f"{mode}.{'jpg' if mode == 'CMYK' else 'png'}"
        Image.new(mode, (3, 2)).save(file)
        assert data.load_image(file).mode == "RGB"


def test_pictures_below_class_folders_count(tmp_path: Path) -> None:
    write_picture(tmp_path / "a" / "deep" / "0.png", 0)
    write_picture(tmp_path / "b" / "0.PNG", 0)
    assert data.find_classes(tmp_path) == ["a", "b"]


def test_many_names_are_cut() -> None:
    assert data.listed([str(i) for i in range(20)]) == "0, 1, 2, 3, 4, 5, 6, 7, ..."
    with pytest.raises(UserError, match=r"--label zz is no class of the data: a, b$"):
        data.class_index("zz", ["a", "b"])

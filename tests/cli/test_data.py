from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
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


def _gray(file: Path, values: np.ndarray) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)
    return file


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    image = data.load_image(_gray(tmp_path / f"gray{suffix}", ramp))
    assert image.mode == "RGB"
    expected = np.round(ramp / 65535 * 255).astype(np.uint8)
    for channel in range(3):
        assert np.array_equal(np.asarray(image)[..., channel], expected)


def test_numbers_from_0_to_1_become_eight_bits(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64).astype(np.float32).reshape(8, 8)
    image = data.load_image(_gray(tmp_path / "gray.tif", ramp))
    assert np.array_equal(np.asarray(image)[..., 0], np.round(ramp * 255).astype(np.uint8))


@pytest.mark.parametrize("most", [np.float32(3.5), np.float32(-1), np.float32(np.nan)])
def test_numbers_of_no_known_range_are_refused(tmp_path: Path, most: np.float32) -> None:
    values = np.full((4, 4), 0.5, dtype=np.float32)
    values[1, 2] = most
    with pytest.raises(UserError, match="nothing says which is white; save it with 8 or 16 bits"):
        data.load_image(_gray(tmp_path / "gray.tif", values))
    with pytest.raises(UserError, match="32-bit whole numbers"):
        data.load_image(_gray(tmp_path / "whole.tif", values.astype(np.int32) + 70000))


def test_links_to_a_folder_above_or_beside_bring_no_picture_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for place in range(3):
            write_picture(tmp_path / name / "inside" / f"{place}.png", 0)
    (tmp_path / "a" / "self").symlink_to(".")
    (tmp_path / "a" / "root").symlink_to("..")
    (tmp_path / "a" / "inside" / "up").symlink_to("..")
    (tmp_path / "a" / "again").symlink_to("inside")
    (tmp_path / "b" / "others").symlink_to("../a")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    write_picture(elsewhere / "far.png", 0)
    (tmp_path / "b" / "far").symlink_to(elsewhere)
    folder = data.open_folder(tmp_path, ["a", "b"], PILToTensor())
    assert [label for _, label in folder.samples] == [0, 0, 0, 1, 1, 1, 1]
    assert all(f"{tmp_path}/{'ab'[label]}/" in file for file, label in folder.samples)


def test_a_class_of_links_alone_holds_no_picture(tmp_path: Path) -> None:
    write_picture(tmp_path / "a" / "0.png", 0)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "up").symlink_to("..")
    with pytest.raises(UserError, match="b holds no pictures"):
        data.find_classes(tmp_path)

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from captum_tfa.cli import data
from captum_tfa.cli.errors import UserError
from captum_tfa.cli.main import main
from captum_tfa.cli.table import classes_of, is_table, read_table
from tests.cli.conftest import Home, write_picture


def table(folder: Path, rows: list[list[str]], name: str = "pets.csv") -> Path:
    file = folder / name
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened).writerows(rows)
    return file


def pictures(folder: Path, count: int = 3) -> list[str]:
    for place in range(count):
        write_picture(folder / f"{place}.png", 0)
    return [f"{place}.png" for place in range(count)]


def test_a_table_gives_the_same_maps_as_folders(home: Home) -> None:
    files = sorted((home.folder / "pets" / "train").rglob("*.png"))
    rows = [[str(file.relative_to(home.folder)), file.parent.name] for file in files]
    table(home.folder, [["file", "label"], *rows])
    assert main(home.arguments(score="grad-cos", out="first")) == 0
    assert main(home.arguments(score="grad-cos", out="second", data="pets.csv")) == 0
    first, second = (load_file(home.folder / f / "maps.safetensors") for f in ("first", "second"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_columns_may_stand_in_any_order_beside_others(tmp_path: Path) -> None:
    first, second, _ = pictures(tmp_path)
    file = table(tmp_path, [["label", "note", "file"], ["b", "x", first], ["a", "y", second]])
    assert read_table(file) == [(str(tmp_path / first), "b"), (str(tmp_path / second), "a")]
    opened = data.open_folder(file, classes_of(file), lambda picture: picture.size)
    assert [opened[place] for place in range(len(opened))] == [((16, 16), 1), ((16, 16), 0)]


def test_a_byte_order_mark_and_absolute_files_are_good(tmp_path: Path) -> None:
    first, second, _ = (str(tmp_path / name) for name in pictures(tmp_path))
    file = tmp_path / "t.CSV"
    file.write_text(f"file,label\n{first},a\n{second},b\n", encoding="utf-8-sig")
    assert is_table(file)
    assert read_table(file) == [(first, "a"), (second, "b")]


def test_classes_are_in_the_order_of_names_and_numbers_in_that_of_size(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    words = table(tmp_path, [["file", "label"], *zip(names, ["b", "10", "2"], strict=True)])
    assert classes_of(words) == ["10", "2", "b"]
    numbers = table(tmp_path, [["file", "label"], *zip(names, ["9", "10", "2"], strict=True)])
    assert classes_of(numbers) == ["2", "9", "10"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "has the columns \\(none\\); it must have file and label"),
        ([["0.png", "a"]], "has the columns 0.png, a; it must have file and label"),
        ([["file", "label"]], "holds no rows; it must hold at least two classes"),
        ([["file", "label"], ["0.png", "a"]], "holds only the label a"),
        ([["file", "label"], ["0.png", "a"], ["1.png", " "]], "lacks .* in line 3"),
        ([["file", "label"], ["0.png", "a"], ["9.png", "b"]], "9.png in line 3, but there is no"),
        ([["file", "label"], ["0.png", "a"], ["0.png", "b"]], "the labels a and b; a picture has"),
    ],
)
def test_a_wrong_table_is_told(tmp_path: Path, rows: list[list[str]], message: str) -> None:
    pictures(tmp_path)
    with pytest.raises(UserError, match=message):
        data.find_classes(table(tmp_path, rows))


def test_other_encodings_and_kinds_are_told(tmp_path: Path) -> None:
    file = tmp_path / "pets.csv"
    file.write_bytes(b"file,label\n\xff\xfe.png,a\n")
    with pytest.raises(UserError, match="cannot be read as a table"):
        data.find_classes(file)
    with pytest.raises(UserError, match=r"is a file; name a folder .* or a \.csv file"):
        data.training_root(str(write_picture(tmp_path / "x.png", 0)))
    with pytest.raises(UserError, match=r"does not exist; name a folder .* or a \.csv file"):
        data.training_root(str(tmp_path / "none.csv"))


def test_a_test_table_has_no_classes_of_its_own(tmp_path: Path) -> None:
    names = pictures(tmp_path)
    file = table(tmp_path, [["file", "label"], *zip(names, "abc", strict=True)])
    with pytest.raises(UserError, match="has the class c, which the training images do not have"):
        data.open_folder(file, ["a", "b"], lambda picture: picture)

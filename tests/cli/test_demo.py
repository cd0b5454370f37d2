from __future__ import annotations

import json
from pathlib import Path

import pytest

from captum_tfa.cli import demo
from captum_tfa.cli.main import main
from tests.cli.conftest import Home, quick_explain, write_picture

FILES = {"figure.png", "explanation.json", "maps.safetensors", "report.html"}


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_the_shortcut_is_found_and_told_in_plain_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shown"
    found = demo.run_shapes(str(out), train_per_class=60, test_per_class=15, nt_samples=4)
    told = capsys.readouterr().out
    assert names(out) == FILES
    assert found.label_given
    assert found.label_name != "triangle"
    for part in (
        "carry a pink patch",
        "The puzzle:",
        "of them carry the patch",
        "6.2%",
        "times",
        "Turned round",
    ):
        assert part in told
    assert str(out / "figure.png") in told


def test_no_arguments_write_into_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(demo, "run_shapes", asked.append)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert asked == ["captum-tfa-demo"]


def test_the_users_pictures_are_learned_and_a_mistake_explained(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in range(3):
        write_picture(home.folder / "pets" / "test" / "cat" / f"{place}.png", 0, side=20)
        write_picture(home.folder / "pets" / "test" / "dog" / f"{place}.png", 0, side=20)
    demo.run_folder("pets", "why", epochs=2, nt_samples=1)
    told = capsys.readouterr().out
    assert "8 training and 6 test pictures of 2 classes (cat, dog), made 32 x 32 pixels" in told
    assert "The puzzle: pets/test/" in told
    assert "mistakes" in told  # half of the dogs look like cats
    assert names(home.folder / "why") == FILES


def test_without_a_test_folder_some_pictures_are_held_out(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "explain", quick_explain)
    for place in range(10, 16):
        write_picture(home.folder / "pets" / "train" / "cat" / f"{place}.png", 0)
    found = demo.run_folder("pets/train", "why", epochs=1, nt_samples=1)
    assert "13 training and 1 test pictures" in capsys.readouterr().out
    told = json.loads((home.folder / "why" / "explanation.json").read_text())
    assert told["settings"]["training_examples"] == 13
    shown = [*found.proponents, *found.opponents]
    assert all(example.file and Path(example.file).is_file() for example in shown)


def test_large_pictures_are_made_64_pixels(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "explain", quick_explain)
    for file in (home.folder / "pets").rglob("*.png"):
        write_picture(file, 0, side=100)
    demo.run_folder("pets", "why", epochs=1, nt_samples=1)
    assert "made 64 x 64 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(("pictures", "epochs"), [(10, 60), (10_000, 30), (1_000_000, 5)])
def test_training_goes_over_few_pictures_more_often(pictures: int, epochs: int) -> None:
    assert demo._epochs(pictures) == epochs


def refused(capsys: pytest.CaptureFixture[str], message: str, *arguments: str) -> None:
    assert main(["demo", *arguments]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told.strip().splitlines()[-1].startswith("captum-tfa: error: ")
    assert message in told


def test_bad_folders_are_one_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, "does not exist", "--data", "nowhere")
    write_picture(home.folder / "pets" / "test" / "emu" / "0.png", 0)
    write_picture(home.folder / "pets" / "test" / "cat" / "0.png", 0)
    refused(capsys, "class emu, which the training images do not have", "--data", "pets")
    (home.folder / "pets" / "train" / "cat" / "broken.png").write_text("x")
    refused(capsys, "broken.png is not an image", "--data", "pets")
    assert not (home.folder / "captum-tfa-demo").exists()


def test_an_out_folder_in_the_way_is_told_before_training(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained for nothing")

    monkeypatch.setattr(demo, "_trained", never)
    refused(capsys, "new or empty", "--out", "pets")

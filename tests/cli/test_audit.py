from __future__ import annotations

import csv
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa.cli import audit as command
from captum_tfa.cli.main import main
from tests.cli.conftest import Home, write_picture

FILES = {"report.html", "suspects.csv", "progress"}

TRAIN = """
import torch
from torch import nn

def train(dataset, seed):
    torch.manual_seed(seed)
    from torch.utils.data import DataLoader
    model = nn.Sequential(nn.Flatten(), nn.Linear(432, 2))
    (images, labels), = DataLoader(dataset, len(dataset))
    with torch.no_grad():
        for label in range(2):
            model[1].weight[label] = images[labels == label].mean(0).flatten()
    return model.eval()

def breaks(dataset, seed):
    raise RuntimeError("out of ideas")

def nothing(dataset, seed):
    return None
"""


@pytest.fixture
def wrong_home(home: Home) -> Home:
    """A home with test pictures, half of which are in the other class's folder."""
    for name, hue in (("cat", 0), ("dog", 2)):
        for place in range(3):
            write_picture(home.folder / "pets" / "test" / name / f"{place}.png", hue)
            write_picture(home.folder / "pets" / "test" / name / f"wrong{place}.png", 2 - hue)
    (home.folder / f"{home.module}_train.py").write_text(TRAIN)
    return home


def arguments(home: Home, *more: str, **changes: str | None) -> list[str]:
    options: dict[str, str | None] = {
        "data": "pets",
        "model": home.model,
        "weights": "weights.pt",
        "score": "grad-cos",
        "max_mistakes": "4",
        "top": "2",
        "controls": "2",
        "out": "found",
        **changes,
    }
    given = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
    return [
        "audit",
        *(part for name, value in given if value is not None for part in (name, value)),
        *more,
    ]


def refused(home: Home, capsys: pytest.CaptureFixture[str], *parts: str, **changes: Any) -> None:
    """Asserts that the changed command ends with one line that holds ``parts``, and no folder."""
    before = home.names()
    assert main(arguments(home, **changes)) == 2
    told = capsys.readouterr().err
    line = told.strip().splitlines()[-1]
    assert line.startswith("captum-tfa: error: ")
    assert "Traceback" not in told
    for part in parts:
        assert part in line
    assert home.names() == before


def test_the_whole_job(wrong_home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(wrong_home)) == 0
    told = capsys.readouterr()
    out = wrong_home.folder / "found"
    assert {entry.name for entry in out.iterdir()} == FILES
    assert "12 test images in pets/test" in told.out
    assert "mistakes were explained" in told.out
    assert str(out / "report.html") in told.out
    for stage in ("prediction", "ranking", "maps", "control", "clustering"):
        assert stage in told.err
    with (out / "suspects.csv").open(encoding="utf-8", newline="") as opened:
        rows = csv.DictReader(opened)
        assert rows.fieldnames == ["index", "file", "reason", "score", "region"]
        for row in rows:
            assert Path(row["file"]).parent.parent.name == "train"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert shlex.join(["captum-tfa", *arguments(wrong_home)]) in page.replace("&#39;", "'")


def test_what_a_process_of_its_own_left_is_gone_on_with(
    wrong_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [sys.executable, "-m", "captum_tfa", *arguments(wrong_home)]
    first = subprocess.run(line, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    report = Path("found", "report.html")
    before = report.stat().st_mtime_ns
    kept = {file: file.stat().st_mtime_ns for file in Path("found", "progress").rglob("*.*")}
    assert any(file.name.startswith("mistake ") for file in kept)
    assert main(line[3:]) == 0
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert report.stat().st_mtime_ns > before
    assert capsys.readouterr().out == first.stdout


def test_a_fit_of_the_curvature_is_told_only_where_there_is_one(
    wrong_home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = "curvature is fitted to 8 of them first"
    assert main(arguments(wrong_home, score=None)) == 0
    assert fitted in capsys.readouterr().out
    with monkeypatch.context() as patched:
        patched.setattr("captum_tfa.report.arguments.with_curvature", nobody_fits)
        assert main(arguments(wrong_home, score=None)) == 0
    assert "is fitted" not in capsys.readouterr().out
    # A stop before the fit was done keeps no curvature, whatever else was kept.
    Path("found", "progress", "audit", "curvature", "fit.safetensors").unlink()
    assert main(arguments(wrong_home, score=None)) == 0
    assert fitted in capsys.readouterr().out


def nobody_fits(*_: object, **__: object) -> None:
    raise AssertionError("the curvature that was kept is used")


def test_a_table_of_test_pictures_and_all_mistakes(
    wrong_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tests.csv").write_text(
        "file,label\npets/test/cat/0.png,cat\npets/test/cat/1.png,dog\npets/test/dog/0.png,cat\n"
    )
    assert main(arguments(wrong_home, test="tests.csv", max_mistakes="all")) == 0
    told = capsys.readouterr().out
    assert "3 test images in tests.csv" in told
    count = told.split(" of its ")[1].split(" mistakes")[0]
    assert f"; {count} of its {count} mistakes were explained" in told


def test_an_index_is_used(wrong_home: Home) -> None:
    build = ["index", "build", "pets-index", "--data", "pets", "--model", wrong_home.model]
    assert main([*build, "--weights", "weights.pt"]) == 0
    assert main(arguments(wrong_home, index="pets-index")) == 0
    assert "numbers an example" in Path("found", "report.html").read_text(encoding="utf-8")


def test_an_index_of_several_trainings_is_used(wrong_home: Home) -> None:
    state = torch.load("weights.pt", weights_only=True)
    torch.save({name: value * 1.1 for name, value in state.items()}, "other.pt")
    build = ["index", "build", "kept", "--data", "pets", "--model", wrong_home.model]
    assert main([*build, "--weights", "weights.pt", "--ensemble", "other.pt"]) == 0
    assert main(arguments(wrong_home, ensemble="other.pt", index="kept")) == 0
    told = Path("found", "report.html").read_text(encoding="utf-8")
    assert "numbers an example of each of 2 parts" in told


def test_the_mean_over_several_trainings(wrong_home: Home) -> None:
    state = torch.load("weights.pt", weights_only=True)
    torch.save({name: value * 1.1 for name, value in state.items()}, "other.pt")
    assert main(arguments(wrong_home, ensemble="other.pt")) == 0
    assert main(arguments(wrong_home, ensemble="other.pt")) == 0  # and it goes on


def test_open_shows_the_report(wrong_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        "captum_tfa.cli.explain.webbrowser.open", lambda url: shown.append(url) or True
    )
    assert main(arguments(wrong_home, "--open")) == 0
    assert shown == [Path("found", "report.html").resolve().as_uri()]


def test_training_anew_is_told_and_kept(
    wrong_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    function = f"{wrong_home.module}_train:train"
    assert main(arguments(wrong_home, retrain_check=function, retrain_seeds="2")) == 0
    told = capsys.readouterr()
    text = Path("found", "retrain-check.txt").read_text(encoding="utf-8")
    assert text.strip() in told.out
    assert "with as many random ones treated alike" in text
    assert "retraining" in told.err
    kept = {entry.name for entry in Path("found", "progress", "retraining").iterdir()}
    assert "without suspects seed 1.safetensors" in kept
    assert main(arguments(wrong_home, retrain_check=function, retrain_seeds="2")) == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("breaks", "fails (RuntimeError: out of ideas"),
        ("nothing", "returns a NoneType; it must return the trained torch.nn.Module"),
    ],
)
def test_a_training_that_fails_leaves_the_audit(
    wrong_home: Home, capsys: pytest.CaptureFixture[str], name: str, told: str
) -> None:
    function = f"{wrong_home.module}_train:{name}"
    assert main(arguments(wrong_home, retrain_check=function)) == 2
    assert told in capsys.readouterr().err
    assert {entry.name for entry in Path("found").iterdir()} == FILES


def test_options_that_cannot_be_used(wrong_home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home = wrong_home
    refused(home, capsys, "--test nowhere is no folder", test="nowhere")
    refused(home, capsys, "is what the model was trained on", test="pets/train")
    refused(home, capsys, "'0' is not a whole number from 1", max_mistakes="0")
    refused(home, capsys, "--retrain-check", "not of the form", retrain_check="train")
    refused(home, capsys, "has no function x", retrain_check=f"{home.module}_train:x")
    refused(home, capsys, "--weights is missing", weights=None)
    refused(home, capsys, "score is 'x'", score="x")
    refused(home, capsys, "method is 'x'", method="x")
    refused(home, capsys, "nowhere", index="nowhere")
    Path("mine").mkdir()
    Path("mine", "notes.txt").write_text("mine")
    refused(home, capsys, "holds files that are no audit (notes.txt)", out="mine")
    refused(home, capsys, "notes.txt is a file", out="mine/notes.txt")


def test_a_folder_without_test_pictures_asks_for_them(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(home, capsys, "--test is missing; name labelled test images")


def test_a_folder_of_another_audit_is_refused(
    wrong_home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(wrong_home)) == 0
    refused(wrong_home, capsys, "other settings: seed: 0 in the folder, 1 now", seed="1")
    state = torch.load("weights.pt", weights_only=True)
    torch.save({name: value * 1.5 for name, value in state.items()}, "other.pt")
    refused(wrong_home, capsys, "other settings: model:", weights="other.pt")


def test_without_scikit_learn_it_says_what_to_install(
    wrong_home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError('scikit-learn is not installed: pip install "captum_tfa[audit]"')

    monkeypatch.setattr(command, "audit", missing)
    refused(wrong_home, capsys, 'pip install "captum_tfa[audit]"')


def test_help_says_how_to_train_anew(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["audit", "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    assert "train(dataset, seed)" in told
    assert "goes on when the same command is given again" in told

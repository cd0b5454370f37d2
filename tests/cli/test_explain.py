from __future__ import annotations

import errno
import html
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from captum_tfa.cli import explain, opened
from captum_tfa.cli.main import main
from captum_tfa.report import arguments
from captum_tfa.report.methods import DEFAULT, METHODS
from tests.cli.conftest import FACTORY, Home, write_picture

FILES = {"figure.png", "explanation.json", "maps.safetensors", "report.html"}


def read(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "explanation.json").read_text())
    return found


def refused(home: Home, capsys: pytest.CaptureFixture[str], *parts: str, **changes: str) -> str:
    """Asserts that the changed command ends with one line that holds ``parts``, and no folder."""
    before = home.names()
    assert main(home.arguments(**changes)) == 2
    told = capsys.readouterr().err
    line = told.strip().splitlines()[-1]
    assert line.startswith("captum-tfa: error: ")
    assert "Traceback" not in told
    for part in parts:
        assert part in line
    assert home.names() == before
    return line


def test_the_whole_job(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home.arguments(label="dog")) == 0
    told = capsys.readouterr()
    assert {entry.name for entry in (home.folder / "why").iterdir()} == FILES
    found = read(home.folder / "why")
    assert found["test"]["label_name"] == "dog"  # type: ignore[index]
    entries = [*found["proponents"], *found["opponents"]]  # type: ignore[misc]
    assert entries
    for entry in entries:
        assert Path(entry["file"]).parent.name == entry["label_name"]
        assert entry["file"] in told.out
    assert "8 training images of 2 classes in pets/train: cat, dog" in told.out
    assert "Normalize" in told.out
    assert "of 8 training images tried" in told.out
    assert str(home.folder / "why" / "figure.png") in told.out
    assert "ranking" in told.err
    assert "mapping" in told.err


def test_without_a_label_it_asks_about_what_the_model_says(home: Home) -> None:
    assert main(home.arguments()) == 0
    test = read(home.folder / "why")["test"]
    assert test["label"] == test["predicted"]  # type: ignore[index]
    assert test["label_given"] is False  # type: ignore[index]


def test_class_folders_at_once_are_as_good(home: Home) -> None:
    assert main(home.arguments(data="pets/train", out="first")) == 0
    assert main(home.arguments(out="second")) == 0
    first, second = (load_file(home.folder / f / "maps.safetensors") for f in ("first", "second"))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_layer_seed_top_and_batch_size_reach_explain(home: Home) -> None:
    assert main(home.arguments(layer="0", seed="3", top="1", batch_size="3", device="cpu")) == 0
    settings = read(home.folder / "why")["settings"]
    wanted = {"layer": "0", "seed": 3, "k": 1, "batch_size": 3, "nt_samples": 2, "device": "cpu"}
    assert {name: settings[name] for name in wanted} == wanted  # type: ignore[index]


def test_the_method_reaches_explain(home: Home) -> None:
    assert main(home.arguments(method="occlusion", top="1")) == 0
    assert read(home.folder / "why")["settings"]["method"] == "occlusion"  # type: ignore[index]


def test_several_methods_are_switched_in_the_report(home: Home) -> None:
    assert main(home.arguments(method="occlusion,gradient", top="1")) == 0
    settings = read(home.folder / "why")["settings"]
    assert settings["method"] == "occlusion,gradient"  # type: ignore[index]
    report = (home.folder / "why" / "report.html").read_text()
    assert '<option value="occlusion">' in report
    assert '<option value="gradient">' in report


def test_the_report_tells_the_command_and_the_image(home: Home) -> None:
    (home.folder / "odd.png").rename(home.folder / "odd one.png")
    given = home.arguments(image="odd one.png", top="1")
    assert main(given) == 0
    report = html.unescape((home.folder / "why" / "report.html").read_text())
    assert shlex.join(["captum-tfa", *given]) in report
    assert '<span id="test-file">odd one.png</span>' in report


def test_open_shows_the_report(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: bool(opened.append(url)))
    assert main([*home.arguments(top="1"), "--open"]) == 0
    report = home.folder / "why" / "report.html"
    assert opened == [report.as_uri()]
    assert f"no browser can be opened from here; open {report} yourself" in capsys.readouterr().out


def test_safetensors_and_pt_give_the_same(home: Home) -> None:
    save_file(torch.load("weights.pt", weights_only=True), "weights.safetensors")
    assert main(home.arguments(out="first")) == 0
    assert main(home.arguments(out="second", weights="weights.safetensors")) == 0
    assert read(home.folder / "first") == read(home.folder / "second")


def test_a_torchvision_model_by_name_gets_its_own_preparation(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    model = torchvision.models.mobilenet_v3_small(num_classes=2)
    torch.save(model.state_dict(), "mobile.pt")
    given = home.arguments(
        model="mobilenet_v3_small",
        weights="mobile.pt",
        top="1",
        score="grad-cos",
        method="gradient",
    )
    assert main(given) == 0
    assert "crop_size=[224]" in capsys.readouterr().out
    assert load_file(home.folder / "why" / "maps.safetensors")["test_image"].shape == (3, 224, 224)


def test_an_earlier_explanation_is_replaced_and_other_files_are_not(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(home.arguments(label="dog")) == 0
    assert main(home.arguments(label="cat")) == 0
    assert read(home.folder / "why")["test"]["label_name"] == "cat"  # type: ignore[index]
    (home.folder / "why" / "notes.txt").write_text("mine")
    refused(home, capsys, "notes.txt", "new or empty")
    (home.folder / "file").write_text("mine")
    refused(home, capsys, "is a file", out="file")


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"data": "nowhere"}, ["--data nowhere does not exist"]),
        ({"data": "odd.png"}, ["--data odd.png is a file"]),
        ({"data": "pets/train/cat"}, ["holds no folders", "one folder a class"]),
        ({"data": "pets"}, []),
        ({"image": "nowhere.png"}, ["nowhere.png does not exist"]),
        ({"image": "pets"}, ["pets is a folder"]),
        ({"image": "weights.pt"}, ["weights.pt is not an image"]),
        ({"label": "dgo"}, ["--label dgo", "cat, dog", "did you mean dog?"]),
        ({"device": "cuda:99"}, ["--device cuda:99", "cpu"]),
        ({"device": "toaster"}, ["--device toaster"]),
        ({"layer": "conv9"}, ["no layer 'conv9'"]),
        ({"layer": "5"}, ["[B, C, h, w]"]),
        ({"method": "magic"}, ["method is 'magic'", *METHODS]),
        ({"method": "occlusion", "layer": "0"}, ["layer", "leave out one"]),
    ],
)
def test_wrong_options_are_one_line(
    home: Home,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str],
    parts: list[str],
) -> None:
    if changes == {"data": "pets"}:  # good, were it not for a class without pictures
        (home.folder / "pets" / "train" / "emu").mkdir()
        parts = ["emu holds no pictures", "move it away"]
    refused(home, capsys, *parts, **changes)


def test_an_empty_folder_is_one_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.folder / "empty").mkdir()
    refused(home, capsys, "empty holds no folders", data="empty")
    (home.folder / "empty" / "cat").mkdir()
    refused(home, capsys, "only the folder cat", "at least two", data="empty")


def test_a_broken_training_image_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.folder / "pets" / "train" / "dog" / "broken.jpg").write_text("not a picture")
    refused(home, capsys, "broken.jpg is not an image", "move it away")


def test_a_half_training_image_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_picture(home.folder / "pets" / "train" / "dog" / "half.png", 1, side=64)
    file.write_bytes(file.read_bytes()[:2000])
    refused(home, capsys, "half.png cannot be read")


def test_a_model_that_cannot_be_explained_is_one_line(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    file = home.folder / f"{home.module}.py"
    file.write_text(FACTORY.replace("BatchNorm2d(4)", "BatchNorm2d(4, track_running_stats=False)"))
    weights = torch.load("weights.pt", weights_only=True)
    kept = {key: value for key, value in weights.items() if not key.startswith(("1.r", "1.num"))}
    torch.save(kept, "weights.pt")
    refused(home, capsys, "track_running_stats=False")


def test_loading_processes_hand_on_which_file_is_broken(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "workers", lambda device, data: 1)
    monkeypatch.setattr(opened, "_TRIED", 1)
    (home.folder / "pets" / "train" / "dog" / "broken.jpg").write_text("not a picture")
    line = refused(home, capsys, "broken.jpg is not an image")
    assert "Caught" not in line


def test_a_model_that_does_not_know_its_training_images_is_remarked_on(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    scope: dict[str, object] = {}
    exec(FACTORY, scope)
    model: nn.Sequential = scope["make"](2)  # type: ignore[operator]
    with torch.no_grad():
        model[5].weight.zero_()
        model[5].bias.copy_(torch.tensor([0.0, 1.0]))  # always says dog
    torch.save(model.state_dict(), "weights.pt")
    for place in range(10):
        write_picture(home.folder / "pets" / "train" / "cat" / f"more{place}.png", 0)
    assert main(home.arguments()) == 0
    assert "right on 4 of 18 training images tried (few" in capsys.readouterr().out


@pytest.mark.parametrize("top", [None, "1"])
def test_two_classes_by_one_logit(
    home: Home, capsys: pytest.CaptureFixture[str], top: str | None
) -> None:
    """Labels are the places of the class folders; above 0 is the second."""
    one = FACTORY.replace("def make(num_classes)", "def make()").replace("num_classes", "1")
    (home.folder / f"{home.module}.py").write_text(one)
    scope: dict[str, Any] = {}
    exec(one, scope)
    torch.manual_seed(1)
    torch.save(scope["make"]().state_dict(), home.folder / "weights.pt")
    assert main(home.arguments(top=top)) == 0
    found = read(home.folder / "why")
    assert found["test"]["predicted_name"] in ("cat", "dog")  # type: ignore[index]
    assert found["settings"]["loss"] == "BCEWithLogitsLoss"  # type: ignore[index]
    assert "of 8 training images tried" in capsys.readouterr().out


def test_a_destination_is_tried_before_the_work(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody_ranks(*args: object, **kwargs: object) -> None:
        raise AssertionError("ranked before the destination was tried")

    monkeypatch.setattr(explain, "explain", nobody_ranks)
    refused(home, capsys, "x" * 100, "File name too long", out="x" * 300)
    refused(home, capsys, "/proc/why cannot be written", out="/proc/why")
    (home.folder / "file").write_text("mine")
    refused(home, capsys, "is a file", out="file/why")

    def full(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    line = refused(home, capsys, "new/why cannot be written (No space left", out="new/why")
    assert ".captum-tfa-" not in line


@pytest.mark.parametrize("seed", ["-1", str(2**64), "1.5", "a"])
def test_seeds_that_torch_does_not_know_are_refused_at_once(
    home: Home, capsys: pytest.CaptureFixture[str], seed: str
) -> None:
    refused(home, capsys, f"from 0 to {2**64 - 1}", seed=seed)


def test_the_largest_seed(home: Home) -> None:
    assert main(home.arguments(seed=str(2**64 - 1))) == 0


def test_weights_that_cannot_be_read_are_not_called_broken(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Path.open

    def forbidden(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "weights.pt":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *args, **kwargs)

    refused(home, capsys, "--weights pets is a folder", weights="pets")
    monkeypatch.setattr(Path, "open", forbidden)
    refused(home, capsys, "--weights weights.pt cannot be read (Permission denied)")


@pytest.mark.parametrize("place", ["def make(num_classes):", "import torch\n"])
def test_a_factory_that_leaves_is_told(
    home: Home, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    indent = "\n    " if "def" in place else ""
    leaves = FACTORY.replace(place, f"{place}{indent}raise SystemExit(3)\n", 1)
    (home.folder / f"{home.module}.py").write_text(leaves)
    refused(home, capsys, "SystemExit: 3")


def test_a_device_that_cannot_compute_is_refused(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(home, capsys, "--device meta cannot be used here", device="meta")


def test_the_score_is_chosen_by_name(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(home.arguments(score="grad-dot")) == 0
    assert read(home.folder / "why")["settings"]["score"] == "grad-dot"  # type: ignore[index]
    refused(home, capsys, "score is 'nope'; it must be one of grad-cos", score="nope", out="other")


def test_a_curvature_is_fitted_once_and_kept(
    home: Home, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    curved = {"score": "influence", "curvature": "kept.safetensors"}
    assert main(home.arguments(**curved)) == 0
    assert "kept.safetensors" in home.names()

    def nobody_fits(*args: object, **kwargs: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr(arguments, "fit_curvature", nobody_fits)
    assert main(home.arguments(**curved, out="again")) == 0
    first, second = read(home.folder / "why"), read(home.folder / "again")
    assert first["settings"]["score"] == "influence (cos)"  # type: ignore[index]
    for one, other in zip(first["proponents"], second["proponents"], strict=True):  # type: ignore[call-overload]
        assert one["index"] == other["index"]
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
    refused(
        home,
        capsys,
        "--curvature belongs to --score influence, not grad-cos",
        score="grad-cos",
        curvature="kept.safetensors",
        out="third",
    )


def test_without_a_score_curvature_is_fitted_and_that_is_told(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = "curvature is fitted to 8 of them first; --score grad-cos does without"
    assert main(home.arguments(curvature="kept.safetensors")) == 0
    told = capsys.readouterr()
    assert fitted in told.out
    assert "ekfac" in told.err  # a progress bar
    settings = read(home.folder / "why")["settings"]
    assert settings["score"] == "influence (cos)"  # type: ignore[index]
    assert settings["method"] == DEFAULT  # type: ignore[index]
    assert main(home.arguments(curvature="kept.safetensors", out="again")) == 0
    assert fitted not in capsys.readouterr().out
    assert main(home.arguments(score="grad-cos", out="third")) == 0
    assert fitted not in capsys.readouterr().out


def test_a_curvature_of_another_model_is_refused(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    curved = {"score": "influence", "curvature": "kept.safetensors"}
    assert main(home.arguments(**curved)) == 0
    weights = torch.load(home.folder / "weights.pt", weights_only=True)
    weights["5.bias"] += 1
    torch.save(weights, home.folder / "weights.pt")
    refused(home, capsys, "model", **curved, out="other")

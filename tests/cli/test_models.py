from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms._presets import ImageClassification

from captum_tfa.cli import models
from captum_tfa.cli.errors import UserError
from tests.cli.conftest import Home


def net(classes: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, classes))


def load(content: object, file: Path, into: nn.Module | None = None) -> nn.Module:
    torch.save(content, file)
    model = into or net()
    models.load_weights(model, str(file))
    return model


def same(first: nn.Module, second: nn.Module) -> bool:
    other = second.state_dict()
    return all(torch.equal(tensor, other[key]) for key, tensor in first.state_dict().items())


@pytest.mark.parametrize("name", ["w.pt", "w.pth"])
def test_a_state_dict_is_loaded(tmp_path: Path, name: str) -> None:
    trained = net()
    assert same(load(trained.state_dict(), tmp_path / name), trained)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_is_looked_into(tmp_path: Path, key: str) -> None:
    trained = net()
    content = {"epoch": 3, key: nn.DataParallel(trained).state_dict()}
    assert same(load(content, tmp_path / "w.pt"), trained)


def test_half_precision_weights_become_the_models(tmp_path: Path) -> None:
    model = load(net().half().state_dict(), tmp_path / "w.pt")
    assert next(model.parameters()).dtype == torch.float32


class Attack:
    """An object whose unpickling writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.file)!r}, 'w')",)


def test_pickled_objects_are_refused_and_never_run(tmp_path: Path) -> None:
    for content in (Attack(tmp_path / "owned"), {"a": Attack(tmp_path / "owned")}, net()):
        with pytest.raises(UserError, match=r"was not run; save .* torch.save\(model.state_dict"):
            load(content, tmp_path / "w.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [{}, [1, 2], torch.zeros(2), {"a": 1}, {"state_dict": {}}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match="holds no state dict"):
        load(content, tmp_path / "w.pt")


def test_weights_of_another_model_are_named_in_one_line(tmp_path: Path) -> None:
    other = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))})
    wanted = r"lacks 0\.weight, 0\.bias, 2\.weight and 1 more and has unknown body\.0.* more"
    with pytest.raises(UserError, match=wanted):
        load(other.state_dict(), tmp_path / "w.pt")


def test_weights_for_other_classes_are_named_with_both_shapes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2\.weight is \[5, 4\] there and \[2, 4\] in the model"):
        load(net(5).state_dict(), tmp_path / "w.pt")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    broken = {key: tensor * float("nan") for key, tensor in net().state_dict().items()}
    with pytest.raises(UserError, match="NaN"):
        load(broken, tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_broken_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x00garbage" * 9)
    with pytest.raises(UserError, match=r"is broken|no safetensors"):
        models.load_weights(net(), str(tmp_path / name))


def test_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    torch.save(net().state_dict(), tmp_path / "w.pt")
    whole = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="broken"):
        models.load_weights(net(), str(tmp_path / "w.pt"))


def test_missing_files_and_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        models.load_weights(net(), str(tmp_path / "w.pt"))
    save_file(net().state_dict(), tmp_path / "w.onnx")
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        models.load_weights(net(), str(tmp_path / "w.onnx"))


def test_a_name_that_torchvision_does_not_know_is_refused_with_near_ones() -> None:
    with pytest.raises(UserError, match=r"did you mean .*resnet18"):
        models.build("resnet81", 2)
    with pytest.raises(UserError, match="no classifier of torchvision"):
        models.build("fasterrcnn_resnet50_fpn", 2)


def test_a_torchvision_model_has_as_many_classes_as_asked_for() -> None:
    model, preprocess = models.build("squeezenet1_1", 7)
    assert model.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    assert isinstance(preprocess, ImageClassification)


def test_a_factory_of_the_current_folder_is_found(home: Home) -> None:
    model, preprocess = models.build(home.model, 3)
    assert model.eval()(torch.zeros(1, 3, 12, 12)).shape == (1, 3)
    assert preprocess is model.preprocess


def test_a_factory_in_a_package_without_num_classes_gets_the_usual_preparation(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = home.folder / f"p{home.module}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text("from torch import nn\ndef two(): return nn.Linear(1, 2)\n")
    model, preprocess = models.build(f"{package.name}.nets:two", 9)
    assert isinstance(model, nn.Linear)
    assert isinstance(preprocess, ImageClassification)


@pytest.mark.parametrize(
    ("text", "factory", "message"),
    [
        ("def make(): return 3", "make", "returns a int"),
        ("def make(): raise KeyError('depth')", "make", "factory fails .KeyError: 'depth', in .*"),
        ("def make(size): return size", "make", "factory fails"),
        ("make = 3", "make", "has no function make"),
        ("", "make", "has no function make"),
        ("import no_such_thing", "make", "importing .* fails .*no_such_thing.* line 1"),
        ("def make(:", "make", "importing .* fails .SyntaxError"),
        ("", "", "not of the form"),
        ("", "a b", "not of the form"),
    ],
)
def test_factories_that_fail_are_one_line(
    home: Home, text: str, factory: str, message: str
) -> None:
    (home.folder / f"{home.module}.py").write_text(text)
    with pytest.raises(UserError, match=message) as raised:
        models.build(f"{home.module}:{factory}", 2)
    assert "\n" not in str(raised.value)


def test_a_module_that_is_not_there_is_one_line(home: Home) -> None:
    with pytest.raises(UserError, match="run the command in the folder where the module lies"):
        models.build("no_such_module:make", 2)


def test_a_preprocess_that_cannot_be_called_is_refused(home: Home) -> None:
    text = (
        "from torch import nn\ndef make():\n  m = nn.Linear(1, 2)\n  m.preprocess = 3\n  return m"
    )
    (home.folder / f"{home.module}.py").write_text(text)
    with pytest.raises(UserError, match=r"model\.preprocess is a int"):
        models.build(home.model, 2)


def test_the_current_folder_is_searched_once(home: Home) -> None:
    models.build(home.model, 2)
    models.build(home.model, 2)
    assert sys.path.count(str(home.folder)) == 1


class Fails(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("wrong\nsize")


class Pair(nn.Linear):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:  # type: ignore[override]
        return (x,)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Fails(1, 1), r"fails on an image of 3 x 3 x 3 \(AssertionError: wrong size"),
        (Pair(1, 1), "gives tuple for an image"),
        (nn.Linear(3, 3), "gives Tensor for an image"),
        (nn.Sequential(nn.Flatten(), nn.Linear(27, 5)), "5 classes apart, --data has 2"),
    ],
)
def test_a_model_that_does_not_suit_the_images_is_refused(model: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.check_runs(model, torch.zeros(3, 3, 3), 2)


def test_auto_is_a_device_that_is_there() -> None:
    device = models.choose_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    torch.zeros(1, device=device)

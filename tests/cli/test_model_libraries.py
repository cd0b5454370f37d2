"""Small random models of timm and transformers, made from configurations: nothing is fetched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_tfa.cli import model_libraries, models
from captum_tfa.cli.errors import UserError
from captum_tfa.cli.main import main
from captum_tfa.report.dataset_facts import normalisation
from tests.cli.conftest import Home

timm = pytest.importorskip("timm", reason="timm, an optional package, is not installed")
transformers = pytest.importorskip(
    "transformers", reason="transformers, an optional package, is not installed"
)

NAMES = {0: "cat", 1: "dog"}


def save_classifier(folder: Path, names: dict[int, str] | None = None) -> torch.nn.Module:
    """A vision transformer of two classes, as `save_pretrained` writes it, with its processor."""
    torch.manual_seed(0)
    named = (
        {} if names is None else {"id2label": names, "label2id": {n: i for i, n in names.items()}}
    )
    config = transformers.ViTConfig(
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        **named,
    )
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(
        size={"height": 16, "width": 16}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    ).save_pretrained(folder)
    return model  # type: ignore[no-any-return]


def test_a_timm_model_is_explained_from_the_command_line(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    model = timm.create_model("test_vit", num_classes=2)
    torch.save(model.state_dict(), "vit.pt")
    given = home.arguments(
        model="timm:test_vit", weights="vit.pt", top="1", score="grad-cos", method="gradient"
    )
    assert main(given) == 0
    assert "160, 160" in capsys.readouterr().out  # the size that this model's configuration says
    assert json.loads(Path("why/explanation.json").read_text())["proponents"]


def test_timms_preparation_is_its_own() -> None:
    model, prepare = models.build("timm:test_vit", 2)
    settings = timm.data.resolve_model_data_config(model)
    picture = Image.fromarray(
        np.arange(200 * 220 * 3, dtype=np.uint32).astype(np.uint8).reshape(200, 220, 3)
    )
    expected = timm.data.create_transform(**settings, is_training=False)(picture)
    assert torch.equal(prepare(picture), expected)
    holder = type("Set", (), {"transform": prepare})()
    mean, std = normalisation(holder) or ([], [])
    assert mean == pytest.approx(list(settings["mean"]))
    assert std == pytest.approx(list(settings["std"]))


def test_a_transformers_folder_is_explained_without_other_weights(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    save_classifier(home.folder / "vit", NAMES)
    given = home.arguments(model="hf:vit", weights=None, top="1", nt_samples="1", score="grad-cos")
    assert main(given) == 0
    assert "ViTImageProcessor" in capsys.readouterr().out
    assert json.loads(Path("why/explanation.json").read_text())["proponents"]


def test_transformers_logits_and_preparation_are_its_own(tmp_path: Path) -> None:
    saved = save_classifier(tmp_path, NAMES)
    model, prepare = models.build(f"hf:{tmp_path}", 2)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    prepared = prepare(Image.fromarray(pixels))
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    expected = (torch.from_numpy(pixels) / 255 - mean) / std
    assert torch.allclose(prepared, expected.permute(2, 0, 1), atol=1e-5)
    assert torch.equal(model.eval()(prepared[None]), saved(pixel_values=prepared[None]).logits)
    holder = type("Set", (), {"transform": prepare})()
    assert normalisation(holder) == (
        pytest.approx([0.5, 0.4, 0.3]),
        pytest.approx([0.2, 0.3, 0.4]),
    )


def test_classes_in_another_order_are_refused(tmp_path: Path) -> None:
    save_classifier(tmp_path, {0: "dog", 1: "cat"})
    model, _ = models.build(f"hf:{tmp_path}", 2)
    with pytest.raises(UserError, match="class 0 is dog, but that of --data is cat"):
        model_libraries.check_class_order(model, ["cat", "dog"])
    model_libraries.check_class_order(model, ["dog", "cat"])
    model_libraries.check_class_order(model, ["other", "names"])


def test_classes_without_names_are_taken_by_number(tmp_path: Path) -> None:
    save_classifier(tmp_path)
    model, _ = models.build(f"hf:{tmp_path}", 2)
    assert model.class_names is None


def refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        models.build(name, 2)


def test_what_is_missing_in_the_folder_is_told(tmp_path: Path) -> None:
    refused(f"hf:{tmp_path}/none", "does not exist; name a local folder")
    for name in ("model.safetensors", "preprocessor_config.json", "config.json"):
        save_classifier(tmp_path)
        (tmp_path / name).unlink()
        refused(f"hf:{tmp_path}", f"holds no {name}")


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    model = save_classifier(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    refused(f"hf:{tmp_path}", "no others are read")


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    save_classifier(tmp_path)
    ran = tmp_path / "ran"
    (tmp_path / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_type"] = "own"
    config["auto_map"] = {
        "AutoConfig": "own.Config",
        "AutoModelForImageClassification": "own.Model",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    refused(f"hf:{tmp_path}", "without code of its own")
    assert not ran.exists()


def test_weights_that_would_be_random_are_refused(tmp_path: Path) -> None:
    model = save_classifier(tmp_path)
    transformers.ViTModel(model.config).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    refused(f"hf:{tmp_path}", "lacks weights of the model .*classifier")
    assert config


def test_weights_are_asked_for_where_they_are_needed(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    save_classifier(home.folder / "vit", NAMES)
    assert main(home.arguments(model="hf:vit")) == 2
    assert "has its own; leave --weights out" in capsys.readouterr().err
    assert main(home.arguments(weights=None)) == 2
    assert "--weights is missing" in capsys.readouterr().err


def test_an_unknown_timm_model_gets_a_hint() -> None:
    refused("timm:resnet81", "no model of timm; did you mean")
    refused("timm:hf-hub:timm/resnet18", "no model of timm")


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_a_missing_package_is_told_with_its_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_classifier(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    name = "timm:resnet18" if package == "timm" else f"hf:{tmp_path}"
    refused(name, rf"needs {package}, .* pip install 'captum_tfa\[{package}\]'")

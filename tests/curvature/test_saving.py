from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from captum_tfa.curvature import fisher, fit_curvature, load_curvature, saving
from captum_tfa.curvature.kinds import KINDS
from tests.curvature.slow import CNN, MLP, dataset, inverse


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_read_solves_as_what_was_written(kind: str, tmp_path: Path) -> None:
    model, data = MLP.model(), dataset(MLP, 6)
    curvature = fit_curvature(model, data, kind=kind, damping=50.0)
    written = curvature.save(tmp_path / "new" / "curvature.safetensors")
    assert written == (tmp_path / "new" / "curvature.safetensors").resolve()
    read = load_curvature(written, MLP.model())
    assert (read.kind, read.damping, read.names) == (kind, 50.0, curvature.names)
    assert read.absolute_damping == curvature.absolute_damping
    torch.testing.assert_close(
        inverse(read, model), inverse(curvature, model), rtol=1e-9, atol=1e-12
    )
    other = read.with_damping(70.0).save(written)
    assert load_curvature(other, model).damping == 70.0
    assert [path.name for path in written.parent.iterdir()] == ["curvature.safetensors"]


def test_gradients_computed_again_need_the_examples_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fisher, "MOST_BYTES", 1000)
    model, data = CNN.model(), dataset(CNN, 5)
    curvature = fit_curvature(model, data, kind="fisher")
    read = load_curvature(curvature.save(tmp_path / "c"), model)
    torch.testing.assert_close(
        inverse(read, model), inverse(curvature, model), rtol=1e-9, atol=1e-12
    )


def test_another_model_is_refused_with_both_sides(tmp_path: Path) -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    curvature = fit_curvature(model, data)
    file = curvature.save(tmp_path / "c")
    with torch.no_grad():
        model[2].bias[0] += 1e-9
    with pytest.raises(ValueError, match=f"with hash {curvature.fingerprint.model}, and this one"):
        load_curvature(file, model)
    wider = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5)).eval()
    with pytest.raises(ValueError, match=r"for 0\.weight \[4, 6\].*has 0\.weight \[7, 6\]"):
        load_curvature(file, wider)
    with pytest.raises(ValueError, match=r"has no 0\.bias"):
        load_curvature(file, nn.Sequential(nn.Linear(6, 4, bias=False)).eval())


def test_another_loss_or_data_set_is_refused_with_both_sides(tmp_path: Path) -> None:
    model, data = MLP.model(), dataset(MLP, 4)
    file = fit_curvature(model, data, max_examples=3).save(tmp_path / "c")
    with pytest.raises(ValueError, match=r"CrossEntropyLoss\(.*label_smoothing=0.0.*0.1"):
        load_curvature(file, model, nn.CrossEntropyLoss(reduction="none", label_smoothing=0.1))
    same = nn.CrossEntropyLoss(reduction="none")
    assert load_curvature(file, model, same, train_dataset=data).kind == "ekfac"
    with pytest.raises(ValueError, match=r"3 of 4 examples.*3 of 5 examples"):
        load_curvature(file, model, train_dataset=dataset(MLP, 5))
    with pytest.raises(ValueError, match="other data"):
        load_curvature(file, model, train_dataset=dataset(MLP, 4, seed=2))


def test_strange_files_are_refused_and_kept(tmp_path: Path) -> None:
    model = MLP.model()
    curvature = fit_curvature(model, dataset(MLP, 4))
    text, tensors = tmp_path / "text", tmp_path / "tensors"
    text.write_text("mine")
    save_file({"a": torch.zeros(1)}, tensors)
    for file in (text, tensors, tmp_path):
        with pytest.raises(FileExistsError, match="is no curvature; name a file"):
            curvature.save(file)
    assert text.read_text() == "mine"
    for file in (text, tensors):
        with pytest.raises(ValueError, match="is no curvature, or it is damaged"):
            load_curvature(file, model)
    with pytest.raises(FileNotFoundError, match="is no file; give the path"):
        load_curvature(tmp_path / "nothing", model)
    whole = curvature.save(tmp_path / "whole")
    whole.write_bytes(whole.read_bytes()[:-8])
    with pytest.raises(ValueError, match="damaged"):
        load_curvature(whole, model)


def test_an_error_on_the_way_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MLP.model()
    curvature = fit_curvature(model, dataset(MLP, 4))
    file = curvature.save(tmp_path / "old")
    before = file.read_bytes()

    def fails(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(saving, "save_file", fails)
    for target in (file, tmp_path / "new" / "deep" / "file"):
        with pytest.raises(OSError, match="no space left"):
            curvature.with_damping(3.0).save(target)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["old"]

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from captum_tfa import EnsembleScore, GradCosScore, GradDotScore, GradientIndex, ScoreInfluence
from captum_tfa.index.projection import Projection
from tests.index.small import DIMENSION, Counted, build, contents
from tests.influence.tiny_sets import (
    TESTS,
    Streamed,
    WholeNumbers,
    images,
    linear_and_conv,
    training_set,
)
from tests.oracle import SlowScore

COUNT = 31


def slow_gradients(data: Any) -> torch.Tensor:
    """All gradients by plain autograd, ``[N, P]``, with the projection's matrix."""
    model = linear_and_conv()
    slow = SlowScore(model)
    rows = []
    for index in range(len(data)):
        image, label = data[index]
        of_one = slow.gradient((image[None],), torch.tensor([label]))
        rows.append(torch.cat([gradient.flatten() for gradient in of_one]).detach())
    return torch.stack(rows)


def matrix(dimension: int, seed: int) -> torch.Tensor:
    parts = []
    for name, parameter in linear_and_conv().named_parameters():
        buckets, signs = Projection(dimension, seed).entries(name, parameter.shape)
        part = torch.zeros(dimension, parameter.numel(), dtype=torch.float64)
        part[buckets.flatten(), torch.arange(parameter.numel())] = signs.flatten().double()
        parts.append(part)
    return torch.cat(parts, 1)


@pytest.mark.parametrize(("precision", "error"), [("float32", 1e-6), ("float16", 1e-3)])
def test_rows_are_the_projected_gradients_in_order(
    tmp_path: Path, precision: str, error: float
) -> None:
    index = build(Counted(COUNT), tmp_path, precision=precision, seed=7)
    gradients = slow_gradients(Counted(COUNT))
    expected = gradients @ matrix(DIMENSION, 7).T
    found = torch.cat(
        [part.clone() for rows in index.chunks(5) for part in rows.projections(torch.device("cpu"))]
    )
    assert float((found - expected).norm() / expected.norm()) < error
    torch.testing.assert_close(index.norms.double(), gradients.norm(dim=1), rtol=1e-6, atol=0)
    losses = nn.functional.cross_entropy(
        linear_and_conv()(Counted(COUNT).images), torch.arange(COUNT) % 3, reduction="none"
    )
    torch.testing.assert_close(index.losses.double(), losses, rtol=1e-6, atol=1e-7)


def test_an_index_is_found_again_with_and_without_its_data(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    for data in (None, Counted(COUNT), DataLoader(Counted(COUNT), 5)):
        index = GradientIndex.open(tmp_path, data)
        assert len(index) == COUNT
        assert index.dimension == DIMENSION
        assert index.complete
        index.verify()


def damage_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_verify_finds_every_flipped_bit(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    for path in sorted(tmp_path.iterdir()):
        if path.name.endswith(".lock") or path.name == "index.json":
            continue
        whole = path.read_bytes()
        damage_bit(path)
        with pytest.raises(ValueError, match=rf"1 problem: .*{path.name[:6].lstrip('0') or '0'}"):
            GradientIndex.open(tmp_path).verify()
        path.write_bytes(whole)
    GradientIndex.open(tmp_path).verify()


def test_a_flipped_bit_in_index_json_is_found_when_it_is_opened(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    text = (tmp_path / "index.json").read_text()
    for damaged in (text.replace('"seed": 0', '"seed": 1'), text[:-9], "", "[]"):
        (tmp_path / "index.json").write_text(damaged)
        with pytest.raises(ValueError, match=r"index\.json is damaged"):
            GradientIndex.open(tmp_path)


@pytest.mark.parametrize("ending", ["projections", "norms", "codes", "json"])
def test_missing_and_truncated_files_are_named_and_made_again(tmp_path: Path, ending: str) -> None:
    build(Counted(COUNT), tmp_path)
    whole = contents(tmp_path)
    victim = tmp_path / f"000001.{ending}"
    victim.write_bytes(victim.read_bytes()[:-3])
    index = GradientIndex.open(tmp_path)
    with pytest.raises(ValueError, match=r"1 problem: .*1"):
        index.verify()
    with pytest.raises(ValueError, match=r"cannot be used: .*Build it again"):
        list(index.chunks())
    victim.unlink()
    with pytest.raises(ValueError, match=r"1 problem: .*missing"):
        index.verify()
    with pytest.raises(ValueError, match="cannot be used"):
        _ = index.norms
    build(Counted(COUNT), tmp_path).verify()
    assert contents(tmp_path) == whole


def test_an_unfinished_index_is_not_used(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    for path in tmp_path.glob("000002.*"):
        path.unlink()
    index = GradientIndex.open(tmp_path, Counted(COUNT))
    assert not index.complete
    assert "not finished: 24 are there" in index.info()
    with pytest.raises(ValueError, match="shard 2 is missing or not finished"):
        ScoreInfluence(GradCosScore(linear_and_conv()), index).influence(TESTS, k=1)


def test_info_says_what_it_is(tmp_path: Path) -> None:
    said = build(Counted(COUNT), tmp_path).info()
    for words in ("31 training examples", "finished", "16 numbers of float16", "3 files"):
        assert words in said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dimension": 17}, "dimension 16, and dimension 17"),
        ({"seed": 1}, "seed 0, and seed 1"),
        ({"precision": "float32"}, "precision float16, and precision float32"),
        ({"shard_size": 8}, "shard_size 12, and shard_size 8"),
    ],
)
def test_other_settings_are_refused_with_both_sides(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    build(Counted(COUNT), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=words):
        build(Counted(COUNT), tmp_path, **changes)
    assert contents(tmp_path) == before


def changed_weights() -> nn.Module:
    model = linear_and_conv()
    with torch.no_grad():
        model.out.bias[0] += 1e-3
    return model


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (lambda: GradCosScore(changed_weights()), "built with model .*, and model"),
        (lambda: GradCosScore(linear_and_conv(), "margin"), "loss .*CrossEntropy.*minus_margin"),
        (
            lambda: GradCosScore(linear_and_conv(), parameters=["out"]),
            r"\(8\) conv1.weight .*, and parameters \(2\) without conv1.weight",
        ),
    ],
)
def test_another_model_loss_or_choice_is_refused_with_both_sides(
    tmp_path: Path, score: Any, words: str
) -> None:
    index = build(Counted(COUNT), tmp_path)
    with pytest.raises(ValueError, match=words):
        index.refuse_other_score(score())
    with pytest.raises(ValueError, match=words):
        ScoreInfluence(score(), index)
    with pytest.raises(ValueError, match=words):
        GradientIndex.build(score(), Counted(COUNT), tmp_path, dimension=DIMENSION, shard_size=12)


def test_other_data_are_refused_with_both_sides(tmp_path: Path) -> None:
    build(Counted(COUNT), tmp_path)
    other = Counted(COUNT)
    other.images = other.images + 1
    for use in (
        lambda data: build(data, tmp_path),
        lambda data: GradientIndex.open(tmp_path, data),
    ):
        with pytest.raises(ValueError, match=r"built with sample \w+, and sample \w+"):
            use(other)
        with pytest.raises(ValueError, match="built with count 31, and count 30"):
            use(Counted(COUNT - 1))
    before = Counted(COUNT + 1)
    before.images = torch.cat([before.images[-1:], before.images[:-1]])  # added at the beginning
    with pytest.raises(ValueError, match="built with sample"):
        build(before, tmp_path)


def test_another_preparation_of_images_is_refused(tmp_path: Path) -> None:
    class Prepared(Counted):
        transform = "Resize(6)"

    build(Prepared(COUNT), tmp_path)
    with pytest.raises(ValueError, match=r"preparation 'Resize\(6\)', and preparation none was"):
        build(Counted(COUNT), tmp_path)


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    from captum_tfa.index.sealed import read_sealed, write_sealed

    build(Counted(COUNT), tmp_path)
    content = read_sealed(tmp_path / "index.json")
    write_sealed(tmp_path / "index.json", {**content, "version": 99})
    with pytest.raises(ValueError, match=r"version 99; this package reads .* version 1"):
        GradientIndex.open(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"checksum": "1"}))
    with pytest.raises(ValueError, match="damaged"):
        GradientIndex.open(tmp_path)


def test_a_folder_without_an_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no index"):
        GradientIndex.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"dimension": 0}, ValueError, "dimension is 0; it must be at least 1"),
        ({"dimension": 2.5}, TypeError, "dimension is a float"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"shard_size": True}, TypeError, "shard_size is a bool"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"seed": 2**63}, ValueError, "seed is"),
        ({"precision": "int8"}, ValueError, "precision is 'int8'"),
    ],
)
def test_arguments_out_of_range_are_refused(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build(Counted(COUNT), tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_streams_sums_and_things_that_are_no_score_are_refused(tmp_path: Path) -> None:
    model = linear_and_conv()
    with pytest.raises(TypeError, match="a stream"):
        GradientIndex.build(GradCosScore(model), Streamed(training_set()), tmp_path)
    with pytest.raises(TypeError, match="build_parts"):
        GradientIndex.build(EnsembleScore([GradCosScore(model)]), training_set(), tmp_path)
    with pytest.raises(TypeError, match="score is a Linear"):
        GradientIndex.build(nn.Linear(1, 1), training_set(), tmp_path)  # type: ignore[arg-type]
    empty = TensorDataset(images(0, 1), torch.zeros(0).long())
    with pytest.raises(ValueError, match="empty"):
        GradientIndex.build(GradCosScore(model), empty, tmp_path)
    shuffled = DataLoader(training_set(), 4, shuffle=True)
    with pytest.raises(ValueError, match="draws examples"):
        GradientIndex.build(GradCosScore(model), shuffled, tmp_path)


def test_a_zero_gradient_is_kept_as_zero(tmp_path: Path) -> None:
    inputs = torch.tensor([[1.0, 2.0], [3.0, 0.5], [1.0, 1.0]], dtype=torch.float64)
    targets = torch.tensor([[3.0], [0.0], [2.0]], dtype=torch.float64)
    score = GradDotScore(WholeNumbers(), nn.MSELoss(reduction="none"))
    index = GradientIndex.build(score, TensorDataset(inputs, targets), tmp_path, dimension=4)
    assert index.norms.tolist()[::2] == [0.0, 0.0]
    (rows,) = index.chunks()
    assert not rows.stored[0].any()

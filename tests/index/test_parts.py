"""Indices of the parts of a sum: what lies in their folder, and what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from captum_tfa import GradCosScore, GradDotScore, GradientIndex, ScoreInfluence
from captum_tfa.index import build_parts, open_parts
from captum_tfa.index.parts import indices_of, open_folder
from tests.index.small import Counted, a_sum, build, build_sum, contents
from tests.influence.tiny_sets import images, linear_and_conv

DATA = Counted(30)
QUESTION = images(3, 5)[:2], torch.tensor([1, 2])


def best(score: Any, indices: Any) -> Any:
    return ScoreInfluence(score, indices, rerank=30).influence(QUESTION, 4)


def test_what_is_opened_is_what_was_built(tmp_path: Path) -> None:
    built = build_sum(DATA, tmp_path)
    opened = open_parts(str(tmp_path), DATA)
    assert [each.folder for each in opened] == [tmp_path / "000", tmp_path / "001"]
    assert [each.settings for each in opened] == [each.settings for each in built]
    assert all(each.data is not None for each in opened)
    assert [each.folder for each in open_folder(tmp_path)] == [each.folder for each in opened]
    wanted = ScoreInfluence(a_sum(), DATA).influence(QUESTION, 4)
    found = best(a_sum(), opened)
    assert torch.equal(found.indices, wanted.indices)
    torch.testing.assert_close(found.influence_scores, wanted.influence_scores)


def test_without_the_data_set_they_give_estimates(tmp_path: Path) -> None:
    build_sum(DATA, tmp_path, dimension=4096, precision="float32")
    opened = open_parts(tmp_path)
    assert all(each.data is None for each in opened)
    estimates = ScoreInfluence(a_sum(), opened).influence(QUESTION)
    by_hand = []
    for weight, state, index in zip((1, 0.5), a_sum().checkpoints, opened, strict=True):
        model = linear_and_conv()
        model.load_state_dict(state)
        by_hand.append(weight * ScoreInfluence(GradDotScore(model), index).influence(QUESTION))
    torch.testing.assert_close(estimates, by_hand[0] + by_hand[1])


def test_a_folder_of_another_kind_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"parts.json is missing.*build_parts") as nothing:
        open_parts(tmp_path / "nothing")
    assert "GradientIndex.open" not in str(nothing.value)
    build(DATA, tmp_path / "one")
    build_sum(DATA, tmp_path / "sum")
    with pytest.raises(FileNotFoundError, match=r"one index: GradientIndex.open opens it"):
        open_parts(tmp_path / "one")
    with pytest.raises(FileNotFoundError, match=r"one for each part.*open_parts opens them"):
        GradientIndex.open(tmp_path / "sum")
    with pytest.raises(ValueError, match="holds the index of one score, and a TracInScore"):
        build_sum(DATA, tmp_path / "one")
    with pytest.raises(ValueError, match="holds indices of the parts of a sum"):
        build(DATA, tmp_path / "sum")
    assert not (tmp_path / "one" / "000").exists()
    assert not (tmp_path / "sum" / "index.json").exists()


def test_a_score_and_its_indices_must_be_as_many(tmp_path: Path) -> None:
    one, several = build(DATA, tmp_path / "one"), build_sum(DATA, tmp_path / "sum")
    with pytest.raises(ValueError, match="1 index was given for the 2 parts of a TracInScore"):
        ScoreInfluence(a_sum(), one)
    with pytest.raises(ValueError, match="2 indices were given for the 3 parts of a TracInScore"):
        ScoreInfluence(a_sum(3), several)
    with pytest.raises(ValueError, match="2 indices were given for a score that is no sum"):
        ScoreInfluence(GradCosScore(linear_and_conv()), several)


def test_the_order_is_that_of_the_parts(tmp_path: Path) -> None:
    indices = build_sum(DATA, tmp_path)
    models = [each.settings.model for each in indices]
    told = f"Part 1 of 2 of the TracInScore: .*with model {models[1]}, and model {models[0]} was"
    with pytest.raises(ValueError, match=told + ".* come in the order of the parts"):
        ScoreInfluence(a_sum(), indices[::-1])


def test_a_build_that_was_stopped_is_not_taken_for_a_smaller_one(tmp_path: Path) -> None:
    class Stops(Counted):
        def __getitem__(self, index: int) -> Any:
            if len(self.asked) > 2 * (16 + 30):  # the second part is finished
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        build_sum(Stops(30), tmp_path / "stopped", 3)
    for opening in (open_parts, open_folder):
        with pytest.raises(FileNotFoundError, match=r"not all built.*what is there stays"):
            opening(tmp_path / "stopped")
    again = Counted(30)
    build_sum(again, tmp_path / "stopped", 3)
    assert len(again.asked) == 3 * 16 + 30  # samples for each, and the third part
    build_sum(DATA, tmp_path / "whole", 3)
    for name in ("000", "001", "002"):
        assert contents(tmp_path / "stopped" / name) == contents(tmp_path / "whole" / name)
    assert len(open_parts(tmp_path / "stopped", DATA)) == 3


def test_parts_are_appended_and_never_fewer(tmp_path: Path) -> None:
    build_sum(DATA, tmp_path)
    before = contents(tmp_path / "000")
    build_sum(DATA, tmp_path, 3)
    assert len(open_parts(tmp_path, DATA)) == 3
    assert contents(tmp_path / "000") == before
    with pytest.raises(ValueError, match="indices of 3 parts, and the TracInScore has 2"):
        build_sum(DATA, tmp_path)
    assert len(open_parts(tmp_path, DATA)) == 3


def test_images_that_were_added_are_appended_to_each(tmp_path: Path) -> None:
    build_sum(DATA, tmp_path)
    with pytest.raises(ValueError, match="count 30, and count 34"):
        open_parts(tmp_path, Counted(34))
    build(Counted(34), tmp_path / "more")  # as if one alone had grown
    shutil.rmtree(tmp_path / "001")
    shutil.move(tmp_path / "more", tmp_path / "001")
    with pytest.raises(ValueError, match=r"several data sets: 30 examples .*, 34 examples"):
        open_parts(tmp_path)
    shutil.rmtree(tmp_path / "001")
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "001"))):
        open_parts(tmp_path)
    build_sum(Counted(34), tmp_path)
    assert [len(each) for each in open_parts(tmp_path, Counted(34))] == [34, 34]


def test_a_damaged_or_foreign_list_is_refused(tmp_path: Path) -> None:
    build_sum(DATA, tmp_path)
    text = (tmp_path / "parts.json").read_text()
    (tmp_path / "parts.json").write_text(text.replace('"parts": 2', '"parts": 1'))
    with pytest.raises(ValueError, match="its checksum is another one"):
        open_parts(tmp_path)
    (tmp_path / "parts.json").write_text((tmp_path / "000" / "index.json").read_text())
    with pytest.raises(ValueError, match=r"reads captum_tfa\.index parts version 1"):
        open_parts(tmp_path)


def test_wrong_settings_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dimension is 0"):
        build_parts(a_sum(), DATA, tmp_path / "new", dimension=0)
    assert not (tmp_path / "new").exists()


def test_a_list_of_pairs_is_a_training_set(tmp_path: Path) -> None:
    index = build(DATA, tmp_path)
    assert indices_of(index) == [index]
    assert indices_of((index, index)) == [index, index]
    assert indices_of([]) is None
    assert indices_of([DATA[0], DATA[1]]) is None
    assert indices_of(DATA) is None

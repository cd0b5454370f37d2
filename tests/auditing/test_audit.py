from __future__ import annotations

import copy
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

import captum_tfa
from captum_tfa.auditing import audit, collecting
from captum_tfa.auditing.result import Audit
from captum_tfa.index import GradientIndex, build_parts
from captum_tfa.report import explain
from captum_tfa.report.mapping import Mapper
from captum_tfa.scores import EnsembleScore, GradCosScore, GradDotScore
from tests.auditing.small import MODEL, TESTS, TRAIN, said, small_audit


@pytest.fixture(scope="module")
def whole() -> Audit:
    return small_audit()


def test_the_mistakes_are_the_surest_wrong_answers(whole: Audit) -> None:
    answers, sure = said()
    labels = torch.tensor([label for _, label in TESTS.samples])
    wrong = [place for place in range(15) if answers[place] != labels[place]]
    assert len(wrong) > 6
    surest = sorted(wrong, key=lambda place: -float(sure[place]))[:6]
    assert [each.index for each in whole.mistakes] == surest
    assert whole.all_mistakes == len(wrong)
    assert whole.accuracy == pytest.approx(1 - len(wrong) / 15)
    for each in whole.mistakes:
        assert (each.label, each.predicted) == (labels[each.index], answers[each.index])
        assert each.file == f"/tests/{each.index}.png"


def test_each_mistake_has_the_opponents_that_explain_finds(whole: Audit) -> None:
    for mistake in whole.mistakes[:3]:
        alone = explain(
            MODEL, TRAIN, TESTS[mistake.index][0], mistake.label, 4, 1, score="grad-cos"
        )
        assert mistake.opponents == tuple(each.index for each in alone.opponents)
        assert mistake.scores == pytest.approx([each.score for each in alone.opponents], abs=1e-5)


def test_clusters_control_and_suspects_belong_to_the_evidence(whole: Audit) -> None:
    assert whole.evidence is not None
    assert whole.regions is not None
    assert whole.clusters == whole.regions.clusters
    assert whole.control is whole.regions.control
    assert len(whole.regions.groups) == len(whole.evidence)
    assert len(whole.regions.control.strengths) == 3
    assert whole.says == whole.regions.says
    assert len(whole.suspicion) == 24
    assert sum(len(pair.mistakes) for pair in whole.pairs) == 6


def same(one: Audit, other: Audit) -> bool:
    def facts(of: Audit) -> Any:
        assert of.evidence is not None
        return (
            [vars(each) | {"image": each.image.tolist()} for each in of.mistakes],
            of.pairs,
            of.suspects,
            of.says,
            of.suspicion.tolist(),
            of.evidence.maps.tolist(),
            [cluster.members.tolist() for cluster in of.clusters],
        )

    return bool(facts(one) == facts(other))


def test_a_killed_audit_goes_on_where_it_stopped(
    whole: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = 0
    draw = Mapper.__call__

    def counted(self: Mapper, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal drawn
        drawn += 1
        if drawn == 10:  # in the third mistake
            raise KeyboardInterrupt
        return draw(self, *args, **kwargs)

    monkeypatch.setattr(Mapper, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        small_audit(folder=tmp_path / "run")
    kept = {file.name for file in (tmp_path / "run").glob("mistake *")}
    assert kept == {"mistake 0.safetensors", "mistake 1.safetensors"}
    assert same(small_audit(folder=tmp_path / "run"), whole)
    assert drawn == 10 + 4 * 4  # the third and those after it
    assert same(small_audit(folder=tmp_path / "run"), whole)
    assert drawn == 10 + 4 * 4


def test_the_curvature_is_fitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = small_audit(score=None, folder=tmp_path / "run", max_mistakes=2)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("fitted again")

    monkeypatch.setattr("captum_tfa.report.arguments.fit_curvature", refuse)
    assert same(small_audit(score=None, folder=tmp_path / "run", max_mistakes=2), first)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 1}, "seed: 0 in the folder, 1 now"),
        ({"k": 5}, "k: 4 in the folder, 5 now"),
        ({"method": "gradient"}, "method"),
        ({"score": "grad-dot"}, "score"),
        ({"max_mistakes": 5}, "max_mistakes"),
        ({"train": Subset(TRAIN, range(23))}, "train"),
        ({"tests": Subset(TESTS, range(14))}, "test"),
        ({"parameters": ["0.weight"]}, "parameters"),
    ],
)
def test_a_folder_of_other_settings_is_refused(
    kept_folder: Path, changes: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=rf"belongs to an experiment of other settings: .*{told}"):
        small_audit(folder=kept_folder, **changes)


@pytest.fixture(scope="module")
def kept_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "run"
    small_audit(folder=folder)
    return folder


def test_a_folder_of_another_model_is_refused(kept_folder: Path) -> None:
    other = copy.deepcopy(MODEL)
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    with pytest.raises(ValueError, match=r"model: '\w+' in the folder, '\w+' now"):
        small_audit(folder=kept_folder, model=other)


def test_a_folder_of_another_score_of_the_same_name_is_refused(tmp_path: Path) -> None:
    class Mine(GradCosScore):
        pass

    small_audit(folder=tmp_path / "run", score=Mine(MODEL), max_mistakes=2)
    small_audit(folder=tmp_path / "run", score=Mine(MODEL), max_mistakes=2)

    class Other(GradDotScore):
        name = Mine(MODEL).name

    with pytest.raises(ValueError, match="belongs to an audit with another score"):
        small_audit(folder=tmp_path / "run", score=Other(MODEL), max_mistakes=2)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        small_audit(folder=tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_an_index_gives_the_same_opponents(whole: Audit, tmp_path: Path) -> None:
    GradientIndex.build(GradCosScore(MODEL), TRAIN, tmp_path / "index", 4096, 8)
    found = small_audit(index=tmp_path / "index")
    assert [m.opponents for m in found.mistakes] == [m.opponents for m in whole.mistakes]
    for one, other in zip(found.mistakes, whole.mistakes, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


def test_a_sum_has_indices_of_its_parts(tmp_path: Path) -> None:
    other = copy.deepcopy(MODEL)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.2)
    score = EnsembleScore([GradCosScore(MODEL), GradCosScore(other)])
    build_parts(score, TRAIN, tmp_path, dimension=4096, batch_size=8)
    wanted = small_audit(score=score)
    found = small_audit(score=score, index=tmp_path)
    assert found.settings["index"] == "4096 numbers an example of each of 2 parts, seed 0, 1"
    assert [m.opponents for m in found.mistakes] == [m.opponents for m in wanted.mistakes]
    for one, other_one in zip(found.mistakes, wanted.mistakes, strict=True):
        assert one.scores == pytest.approx(other_one.scores, abs=1e-5)
    with pytest.raises(ValueError, match="2 indices were given for a score that is no sum"):
        small_audit(index=tmp_path)


def test_all_mistakes(whole: Audit) -> None:
    assert len(small_audit(max_mistakes=None, k=1, controls=1).mistakes) == whole.all_mistakes


def test_a_model_without_mistakes_has_no_regions() -> None:
    answers, _ = said()
    right = TensorDataset(TESTS.tensors[0], answers)
    found = small_audit(tests=right)
    assert found.mistakes == found.pairs == found.clusters == ()
    assert found.regions is found.evidence is found.control is None
    assert found.says == "The model makes no mistake on these 15 test images."
    assert len(found.suspicion) == 24  # labels are looked at all the same


def test_the_model_and_chance_are_left_as_they_were() -> None:
    model = copy.deepcopy(MODEL)
    before = copy.deepcopy(model.state_dict())
    grads = [parameter.requires_grad for parameter in model.parameters()]
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    small_audit(model=model, max_mistakes=1, method="gradient", nt_samples=2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == grads
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_mistakes": 0}, "max_mistakes is 0.*or None for all"),
        ({"max_mistakes": 2.5}, "max_mistakes is 2.5"),
        ({"k": 0}, "k is 0; it must be a whole number, at least 1"),
        ({"controls": 0}, "controls is 0"),
        ({"controls": True}, "controls is True"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is"),
        ({"method": "x"}, "method is 'x'; it must be one of"),
        ({"method": ["gradient", "occlusion"]}, "an audit draws one map"),
        ({"score": "x"}, "score is 'x'"),
        ({"tests": Subset(TESTS, [])}, "test_dataset is empty; give labelled images"),
        ({"train": Subset(TRAIN, [])}, "train_dataset is empty"),
        ({"tests": [1, 2]}, r"test_dataset\[0\] is 1; it must be a pair"),
        ({"tests": iter(())}, "test_dataset is a .*map-style"),
        (
            {"tests": TensorDataset(torch.randn(2, 1, 8, 8), torch.tensor([0, 1]))},
            r"channels",
        ),
        ({"class_names": ["a"]}, "class_names has 1 names"),
    ],
)
def test_what_cannot_be_used_is_told_before_the_work(changes: dict[str, Any], told: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=told):
        small_audit(**changes)


def test_training_images_that_change_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Changing(TensorDataset):
        fetched = 0

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            Changing.fetched += 1
            image, label = super().__getitem__(index)
            return image + (Changing.fetched > 130) * 0.5, label

    with pytest.raises(ValueError, match=r"another image each time|not the same image"):
        small_audit(train=Changing(*TRAIN.tensors))


def test_the_function_is_found_at_the_top() -> None:
    assert captum_tfa.audit is audit
    assert captum_tfa.Audit is Audit


def test_a_missing_scikit_learn_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("worked before it was told")

    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    monkeypatch.setattr(sys.modules["captum_tfa.auditing.audit"], "answers_of", never)
    with pytest.raises(ImportError, match=r"captum_tfa\[audit\]"):
        small_audit()


def test_memory_is_bounded_by_smaller_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "_SMALLEST", 2)
    monkeypatch.setattr(collecting, "_EVIDENCE_BYTES", 24 * 7 * 16)
    found = small_audit(max_mistakes=6, k=4)
    assert found.evidence is not None
    assert found.evidence.maps.shape[1:] == (4, 4)
    assert found.image_size == (8, 8)


def test_saved_again_after_the_folder_is_gone(tmp_path: Path) -> None:
    found = small_audit(folder=tmp_path / "run", max_mistakes=1)
    shutil.rmtree(tmp_path / "run")
    assert found.to_csv(tmp_path / "s.csv").read_text().startswith("index,file,reason,score,region")

"""Rankings: the scores of a training set for several test examples, in the set's own order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from captum.influence import DataInfluence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    TensorDataset,
)

from captum_tfa import GradCosScore, GradDotScore, ScoreInfluence, ZeroGradientWarning
from captum_tfa.scores import Score
from tests.influence.slow_ranking import assert_same, ranking_of, slow_ranking
from tests.influence.tiny_sets import (
    TEST_LABELS,
    TESTS,
    LinearAndConv,
    WholeNumbers,
    images,
    linear_and_conv,
    training_set,
)
from tests.oracle import NETS, SlowScore, dot

SCORES = pytest.mark.parametrize("score_class", [GradCosScore, GradDotScore])


def test_ranking_is_a_captum_data_influence() -> None:
    influence, slow = ranking_of(GradCosScore)
    assert isinstance(influence, DataInfluence)
    assert influence.model is slow.model


@SCORES
@pytest.mark.parametrize("test_labels", [TEST_LABELS, None], ids=["labels", "predictions"])
def test_scores_equal_a_slow_loop(score_class: type[Score], test_labels: Tensor | None) -> None:
    influence, slow = ranking_of(score_class, batch_size=4)
    given = influence.influence(TESTS if test_labels is None else (TESTS, test_labels))
    train, labels = training_set().tensors
    assert_same(given, slow_ranking(slow, train, labels, test_labels=test_labels))


@SCORES
def test_one_test_example(score_class: type[Score]) -> None:
    influence, slow = ranking_of(score_class)
    given = influence.influence((TESTS[:1], 2))
    assert_same(given, slow_ranking(slow, *training_set().tensors, TESTS[:1], torch.tensor([2])))


@pytest.mark.parametrize(
    "labels", [1, [1], torch.tensor(1), torch.tensor([1]), torch.tensor([1, 1, 1, 1])], ids=repr
)
def test_one_label_serves_all_test_examples_in_every_form(labels: Any) -> None:
    influence, slow = ranking_of(GradCosScore)
    expected = slow_ranking(slow, *training_set().tensors, TESTS, torch.tensor([1, 1, 1, 1]))
    assert_same(influence.influence((TESTS, labels)), expected)
    assert_same(influence.influence([TESTS, labels]), expected)


def test_equal_test_examples_have_equal_scores_and_keep_their_places() -> None:
    influence, slow = ranking_of(GradCosScore)
    order = [2, 0, 2, 3, 0]
    given = influence.influence((TESTS[order], TEST_LABELS[order]))
    assert_same(given, slow_ranking(slow, *training_set().tensors)[order])


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_batch_size_changes_nothing(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 13), "training examples")
    queries = data.draw(st.integers(1, 4), "test examples")
    batch_size = data.draw(st.integers(1, 15), "batch_size")
    k = data.draw(st.none() | st.integers(1, 15), "k")
    score_class = data.draw(st.sampled_from([GradCosScore, GradDotScore]))
    examples, inputs = training_set(count), (TESTS[:queries], TEST_LABELS[:queries])
    score = score_class(linear_and_conv())
    one_by_one = ScoreInfluence(score, examples, batch_size=1).influence(inputs, k=k)
    batched = ScoreInfluence(score, examples, batch_size=batch_size).influence(inputs, k=k)
    if k is None:
        assert_same(batched, one_by_one)
        assert batched.shape == (queries, count)
    else:
        assert batched.indices.tolist() == one_by_one.indices.tolist()
        assert_same(batched.influence_scores, one_by_one.influence_scores)
        assert batched.indices.shape == (queries, min(k, count))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_callers_grad_mode_changes_nothing(mode: Callable[[], Any]) -> None:
    influence, slow = ranking_of(GradCosScore)
    with mode():
        given = influence.influence((images(4, 2), TEST_LABELS))
    assert_same(given.clone(), slow_ranking(slow, *training_set().tensors))


def test_callers_autocast_changes_nothing() -> None:
    train, labels = training_set().tensors
    score = GradCosScore(linear_and_conv().float())
    influence = ScoreInfluence(score, TensorDataset(train.float(), labels), batch_size=4)
    plain = influence.influence((TESTS.float(), TEST_LABELS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = influence.influence((TESTS.float(), TEST_LABELS))
        itself = influence.self_influence()
    torch.testing.assert_close(given, plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(itself, torch.ones(11), rtol=1e-5, atol=0)


class _Counting(LinearAndConv):
    """Counts the rows of its forward passes, also where hooks do not fire."""

    rows: list[int]

    def forward(self, images: Tensor) -> Tensor:
        self.rows.append(len(images))
        return super().forward(images)


@pytest.mark.parametrize("k", [None, 3])
def test_each_test_gradient_is_computed_once(k: int | None) -> None:
    model = _Counting().double().eval()
    model.rows = rows = []
    influence = ScoreInfluence(GradCosScore(model), training_set(), batch_size=2)
    influence.influence((TESTS, TEST_LABELS), k=k)
    assert sum(rows) == 4 + 11
    influence.influence((TESTS, TEST_LABELS), k=k)  # the model may have changed meanwhile
    assert sum(rows) == 2 * (4 + 11)


def test_perfectly_fitted_training_examples_score_zero_with_one_warning() -> None:
    model, labels = WholeNumbers(), torch.tensor([[3.0], [5.0], [1.0]]).double()
    train = torch.tensor([[1.0, 2.0], [2.0, 2.0], [0.0, 1.0]]).double()
    score = GradCosScore(model, nn.MSELoss(reduction="none"))
    influence = ScoreInfluence(score, TensorDataset(train, labels), batch_size=1)
    test_side = torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[4.0]]).double()
    with pytest.warns(ZeroGradientWarning, match="training example") as caught:
        given = influence.influence(test_side)
    assert len(caught) == 1
    assert given[0, [0, 2]].tolist() == [0, 0]
    assert float(given[0, 1]) == pytest.approx(2**-0.5)


def test_one_hard_example_among_fitted_ones_does_not_spoil_later_rankings() -> None:
    """Its gradient is all that is seen of the first batch; what follows must not be misread.

    The net works with the sequence first and reads the first token only.
    """
    model = NETS["sequence first, one token read"].model()
    case, loss = NETS["sequence first, one token read"], nn.MSELoss(reduction="none")
    train, test = case.inputs(8)[0], case.inputs(1, seed=2)[0]
    labels = model(train).detach() + 1e-9
    labels[0] += 1
    labels[4:] += torch.arange(20).reshape(4, 5) / 10
    examples = TensorDataset(train, labels)
    influence = ScoreInfluence(GradDotScore(model, loss), examples, batch_size=4)
    test_side = test, torch.zeros(1, 5).double()
    slow = SlowScore(model, loss, formula=dot)
    assert_same(influence.influence(test_side), slow_ranking(slow, train, labels, *test_side))


@pytest.mark.parametrize("shown", [False, True])
def test_progress_bar_is_shown_on_request(shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    influence, _ = ranking_of(GradCosScore, batch_size=4, show_progress=shown)
    influence.influence(TESTS)
    ranking = capsys.readouterr().err
    influence.self_influence()
    itself = capsys.readouterr().err
    assert ("ranking" in ranking and "3/3" in ranking) is shown
    assert ("self-influence" in itself and "3/3" in itself) is shown
    assert (ranking == "") is not shown
    influence.influence(TESTS, show_progress=not shown)
    assert (capsys.readouterr().err == "") is shown
    influence.self_influence(show_progress=not shown)
    assert (capsys.readouterr().err == "") is shown


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_examples_are_brought_to_the_device_of_the_model() -> None:
    model = linear_and_conv()
    expected = ScoreInfluence(GradCosScore(model), training_set()).influence((TESTS, TEST_LABELS))
    on_gpu = ScoreInfluence(GradCosScore(model.cuda()), training_set())
    given = on_gpu.influence((TESTS.cuda(), TEST_LABELS))
    assert given.device.type == "cpu"
    assert_same(given, expected)
    best = on_gpu.influence((TESTS.cuda(), TEST_LABELS), k=3)
    assert best.indices.tolist() == expected.topk(3).indices.tolist()


def test_something_else_than_a_score_is_refused() -> None:
    with pytest.raises(TypeError, match=r"score is a LinearAndConv; it must be a score such as"):
        ScoreInfluence(linear_and_conv(), training_set())  # type: ignore[arg-type]


def test_model_in_training_mode_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(72, 3)).double()
    influence = ScoreInfluence(GradCosScore(model), training_set())
    for call in (lambda: influence.influence(TESTS), influence.self_influence):
        with pytest.raises(ValueError, match=r"1: dropout in training mode.*model\.eval\(\)"):
            call()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("bee.png", r"inputs is a str; give test images, or \(test_images, labels\)"),
        ((TESTS, TEST_LABELS, 1), r"inputs is a tuple; give test images, or \(test_images, labels"),
        (DataLoader(training_set()), r"inputs is a DataLoader; give test images"),
        ((TESTS, "bee"), r"test_target is a str; give a tensor of labels, a number or a list"),
        ((TESTS, torch.eye(3)[:1]), r"cross-entropy takes integer class numbers"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_test_side_of_the_wrong_type_is_refused(inputs: Any, message: str) -> None:
    influence, _ = ranking_of(GradCosScore)
    with pytest.raises(TypeError, match=message):
        influence.influence(inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((TESTS, 3), "Label 3 was given; the model has classes 0 to 2"),
        (TESTS[:0], "test_inputs holds no example"),
        ((TESTS, [0, 1, 2]), "test_target has 3 rows for 4 test examples; give 1 row for all"),
    ],
    ids=["label out of range", "no test example", "labels that do not match"],
)
def test_test_side_of_wrong_values_is_refused(inputs: Any, message: str) -> None:
    influence, _ = ranking_of(GradCosScore)
    with pytest.raises(ValueError, match=message):
        influence.influence(inputs)

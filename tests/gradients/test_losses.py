from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_tfa import GradCosScore
from tests.oracle import EXACT, SlowScore, assert_exact, relative_error


def _net(*shape: int) -> nn.Sequential:
    """Images ``[B, 3, 2, 2]`` to outputs ``[B, *shape]``."""
    outputs = torch.Size(shape).numel()
    layers = nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, outputs)
    return nn.Sequential(nn.Flatten(), *layers, nn.Unflatten(1, shape)).double().eval()


def _images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 2, 2, dtype=torch.float64)


def _squared_margin(outputs: Tensor, targets: Tensor) -> Tensor:
    rest = outputs.scatter(1, targets[:, None], -torch.inf).logsumexp(1)
    return (outputs.gather(1, targets[:, None])[:, 0] - rest).square()


class WeightedError(nn.Module):
    """A loss that is a module of the user's own, with labels of two kinds in one tensor."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return targets[:, 0] * (outputs - targets[:, 1:]).abs().sum(1)


classes, several = torch.tensor([0, 3, 4]), torch.rand(3, 4, dtype=torch.float64)
pixels = torch.randint(0, 5, (3, 2, 2), generator=torch.Generator().manual_seed(0))
LOSSES: dict[str, tuple[Any, tuple[int, ...], Tensor]] = {
    "cross-entropy": (nn.CrossEntropyLoss(reduction="none"), (5,), classes),
    "weighted and smoothed cross-entropy": (
        nn.CrossEntropyLoss(
            torch.tensor([1.0, 2, 3, 4, 5]).double(), reduction="none", label_smoothing=0.1
        ),
        (5,),
        classes,
    ),
    "cross-entropy of pixels": (nn.CrossEntropyLoss(reduction="none"), (5, 2, 2), pixels),
    "short integers": (nn.CrossEntropyLoss(reduction="none"), (5,), classes.to(torch.uint8)),
    "log-likelihood": (nn.NLLLoss(reduction="none"), (5,), classes),
    "several labels": (nn.BCEWithLogitsLoss(reduction="none"), (4,), (several > 0.5).double()),
    "several labels as integers": (
        nn.BCEWithLogitsLoss(reduction="none"),
        (4,),
        (several > 0.5).long(),
    ),
    "probabilities": (nn.BCEWithLogitsLoss(reduction="none"), (4,), several),
    "positive weights": (
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 2, 3, 4]).double(), reduction="none"),
        (4,),
        several,
    ),
    "soft margins": (nn.MultiLabelSoftMarginLoss(reduction="none"), (4,), (several > 0.5).double()),
    "squares": (nn.MSELoss(reduction="none"), (4,), several),
    "squares of images": (nn.MSELoss(reduction="none"), (2, 2, 2), torch.rand(3, 2, 2, 2)),
    "absolute errors": (nn.L1Loss(reduction="none"), (4,), several),
    "Huber": (nn.HuberLoss(reduction="none"), (4,), several),
    "one number": (nn.MSELoss(reduction="none"), (1,), several[:, :1]),
    "function": (_squared_margin, (5,), classes),
    "module": (WeightedError(), (4,), torch.rand(3, 5, dtype=torch.float64)),
    "one column": (lambda out, target: (out - target).square().sum(1, True), (4,), several),
}


@pytest.mark.parametrize("name", LOSSES)
def test_any_loss_of_single_examples_is_exact(name: str) -> None:
    loss, shape, targets = LOSSES[name]
    model = _net(*shape)
    if targets.is_floating_point():
        targets = targets.double()

    def float_labels(outputs: Tensor, labels: Tensor) -> Tensor:
        return loss(outputs, labels.double())  # type: ignore[no-any-return]

    def long_labels(outputs: Tensor, labels: Tensor) -> Tensor:
        return loss(outputs, labels.long())  # type: ignore[no-any-return]

    by_hand = loss
    if not targets.is_floating_point():
        by_hand = float_labels if "several" in name else long_labels
    slow = SlowScore(model, by_hand)
    test_targets = targets.flip(0)
    assert_exact(GradCosScore(model, loss), slow, _images(3), _images(3), test_targets, targets)
    assert_exact(GradCosScore(model, loss), slow, _images(3), _images(1), targets[:1], targets)


def test_losses_without_second_derivative_have_scores_all_the_same() -> None:
    model, loss = _net(5), nn.MultiMarginLoss(reduction="none")
    train, test = _images(3), _images(1)
    given = GradCosScore(model, loss)(train, test, 1, classes)
    assert relative_error(given, SlowScore(model, loss)(train, test, 1, classes)) < 1e-8
    predicted = GradCosScore(model, loss)(train, test, model(test).argmax(1), classes)
    torch.testing.assert_close(GradCosScore(model, loss)(train, test, None, classes), predicted)


def test_default_is_cross_entropy() -> None:
    model, train, test = _net(5), _images(3), _images(1)
    plain = GradCosScore(model)(train, test, 1, classes)
    explicit = GradCosScore(model, nn.CrossEntropyLoss(reduction="none"))(train, test, 1, classes)
    torch.testing.assert_close(plain, explicit, rtol=0, atol=0)


def test_missing_labels_of_several_are_those_above_one_half() -> None:
    model, train, test = _net(4), _images(3), _images(1)
    loss = nn.BCEWithLogitsLoss(reduction="none")
    given = GradCosScore(model, loss)(train, test)
    expected = GradCosScore(model, loss)(
        train, test, (model(test) > 0).double(), (model(train) > 0).double()
    )
    torch.testing.assert_close(given, expected, rtol=1e-12, atol=0)


def test_missing_labels_of_pixels_are_their_likeliest_classes() -> None:
    model, train, test = _net(5, 2, 2), _images(3), _images(1)
    given = GradCosScore(model)(train, test)
    expected = GradCosScore(model)(train, test, model(test).argmax(1), model(train).argmax(1))
    torch.testing.assert_close(given, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("loss", [nn.MSELoss(reduction="none"), _squared_margin])
def test_losses_without_a_predicted_label_want_labels(loss: Any) -> None:
    model, images = _net(4), _images(2)
    with pytest.raises(ValueError, match=r"No label was given, and .* Pass test_target"):
        GradCosScore(model, loss)(images, images[:1])


def test_labels_that_the_loss_ignores_are_no_error() -> None:
    model, train, test = _net(5, 2, 2), _images(3), _images(1)
    loss = nn.CrossEntropyLoss(ignore_index=255, reduction="none")
    labels = pixels.clone()
    labels[:, 0] = 255
    assert_exact(GradCosScore(model, loss), SlowScore(model, loss), train, test, pixels[:1], labels)


# Outputs


@dataclass
class Result:
    logits: Tensor
    name: str = "result"


class Returns(nn.Module):
    """A net that wraps its output."""

    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.net, self.wrap = _net(5), wrap

    def forward(self, images: Tensor) -> object:
        return self.wrap(self.net(images))


@pytest.mark.parametrize(
    ("wrap", "pick", "told"),
    [
        (lambda out: {"logits": out}, lambda out: out["logits"], r"dict with keys \['logits'\]"),
        (lambda out: (out, 1), lambda out: out[0], "the model returned a tuple"),
        (Result, lambda out: out.logits, r"Result with fields \['logits'\]"),
        (lambda out: [out], lambda out: out[0], "the model returned a list"),
        (lambda out: None, None, "the model returned a NoneType"),
    ],
    ids=["dict", "tuple", "dataclass", "list", "none"],
)
def test_output_fn_picks_the_output(wrap: Any, pick: Any, told: str) -> None:
    model, train, test = Returns(wrap), _images(3), _images(1)
    with pytest.raises(
        TypeError, match=f"{told}.*; a tensor is needed. Pass output_fn, for example"
    ):
        GradCosScore(model)(train, test, 1, classes)
    if pick is not None:
        given = GradCosScore(model, output_fn=pick)(train, test, 1, classes)
        expected = SlowScore(model.net)(train, test, 1, classes)
        assert relative_error(given, expected) < 1e-8


def test_output_fn_that_picks_no_tensor_is_told_so() -> None:
    with pytest.raises(TypeError, match="output_fn returned a list; a tensor is needed"):
        GradCosScore(_net(5), output_fn=lambda out: [out])(_images(2), _images(1), 1, 0)


def test_a_single_number_for_the_whole_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="returned a single number; it must return one row for"):
        GradCosScore(_net(5), output_fn=torch.sum)(_images(2), _images(1), 1, 0)


@pytest.mark.parametrize("shape", [(1,), ()])
def test_cross_entropy_of_a_single_logit_is_refused(shape: tuple[int, ...]) -> None:
    model = nn.Sequential(_net(1), nn.Flatten(0)) if shape == () else _net(1)
    with pytest.raises(ValueError, match=r"logits of at least two classes, \[B, C\]. For a single"):
        GradCosScore(model)(_images(2), _images(1), 0, 0)
    with pytest.raises(ValueError, match="logits of at least two classes"):
        GradCosScore(model)(_images(2), _images(1))


# Losses that cannot be


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss(reduction="sum")])
def test_losses_that_reduce_are_refused_at_once(loss: nn.Module) -> None:
    with pytest.raises(
        ValueError, match=r"\[B\], but its reduction is '(mean|sum)'. Use reduction="
    ):
        GradCosScore(_net(5), loss)


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (F.cross_entropy, r"\[\]"),
        (
            lambda out, target: F.cross_entropy(out, target, reduction="none").mean(0, True),
            r"\[1\]",
        ),
        (lambda out, target: out.sum(0), r"\[5\]"),
    ],
)
def test_functions_that_reduce_are_refused(loss: Any, given: str) -> None:
    with pytest.raises(
        ValueError, match=rf"returned shape {given} for \d+ examples. Use reduction="
    ):
        GradCosScore(_net(5), loss)(_images(2), _images(1), 1, 0)


def test_losses_that_are_no_tensors_are_refused() -> None:
    with pytest.raises(TypeError, match="loss_fn returned a float; it must return a tensor"):
        GradCosScore(_net(5), lambda out, target: 1.0)(_images(2), _images(1), 1, 0)  # type: ignore[arg-type,return-value]


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="loss_fn is a str; it must be callable or None"):
        GradCosScore(_net(5), "cross-entropy")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="output_fn is a str; it must be callable or None"):
        GradCosScore(_net(5), output_fn="logits")  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"the class MSELoss; make an instance .*MSELoss\(reduction="
    ):
        GradCosScore(_net(5), nn.MSELoss)  # type: ignore[arg-type]


# Labels that cannot be

BAD_LABELS: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "floats": (None, torch.rand(2), TypeError, "Labels of type torch.float32 .* integer class"),
    "booleans": (None, torch.tensor([True, False]), TypeError, "Labels of type torch.bool"),
    "one-hot": (
        None,
        torch.eye(5)[:2],
        TypeError,
        r"For several labels an image pass float labels",
    ),
    "two for one": (
        None,
        torch.zeros(2, 2).long(),
        ValueError,
        r"shape \[.*\] were given for outp",
    ),
    "too large": (None, torch.tensor([0, 5]), ValueError, "Label 5 was given; .* classes 0 to 4"),
    "negative": (None, torch.tensor([0, -1]), ValueError, "Label -1 was given; the model has clas"),
    "not a probability": (
        nn.BCEWithLogitsLoss(reduction="none"),
        torch.full((2, 5), 1.5),
        ValueError,
        r"Multi-label targets between 1.5 and 1.5 were given; each must be within \[0, 1\]",
    ),
    "negative probability": (
        nn.BCEWithLogitsLoss(reduction="none"),
        torch.full((2, 5), -0.5),
        ValueError,
        "Multi-label targets between -0.5 and -0.5",
    ),
    "class for several": (
        nn.BCEWithLogitsLoss(reduction="none"),
        torch.tensor([1, 0]),
        ValueError,
        r"Labels of shape \[.\] were given for outputs of shape \[., 5\]; this loss takes one",
    ),
    "number for several": (
        nn.MSELoss(reduction="none"),
        torch.tensor([1.0, 0.0]),
        ValueError,
        "this loss takes one label for each output value",
    ),
    "column for several": (  # would be broadcast in silence
        nn.MSELoss(reduction="none"),
        torch.ones(2, 1),
        ValueError,
        "this loss takes one label for each output value",
    ),
    "complex": (
        nn.MSELoss(reduction="none"),
        torch.ones(2, 5, dtype=torch.complex64),
        TypeError,
        "Labels of type torch.complex64 were given; real numbers are needed",
    ),
}


@pytest.mark.parametrize("name", BAD_LABELS)
@pytest.mark.parametrize("side", ["training", "test"])
def test_labels_that_do_not_suit_the_loss_are_refused(name: str, side: str) -> None:
    loss, labels, error, message = BAD_LABELS[name]
    model, images = _net(5), _images(2)
    good = torch.zeros(2).long() if loss is None else torch.zeros(2, 5)
    targets = (good, labels) if side == "training" else (labels, good)
    with pytest.raises(error, match=message):
        GradCosScore(model, loss)(images, images, *targets)


def _one_logit() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1)).double().eval()


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss, nn.MSELoss, nn.L1Loss, nn.HuberLoss])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_one_output_and_one_label_an_example_are_compared_row_by_row(
    loss: type[nn.Module], shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    model = _one_logit()
    train, test = torch.randn(4, 6).double(), torch.randn(1, 6).double()
    labels = torch.tensor([0, 1, 1, 0])
    slow = SlowScore(model, loss_fn=loss(reduction="none"))
    expected = slow(train, test, torch.ones(1, 1).double(), labels.reshape(4, 1).double())
    score = GradCosScore(model, loss(reduction="none"))
    given = score(train, test, torch.ones(1).to(dtype), labels.reshape(shape).to(dtype))
    assert relative_error(given, expected) < EXACT


def _squares(outputs: Tensor, target: Tensor) -> Tensor:
    return (outputs - target) ** 2


def _mean_of_squares(outputs: Tensor, target: Tensor) -> Tensor:
    return ((outputs - target) ** 2).mean(1)


@pytest.mark.parametrize("loss", [_squares, _mean_of_squares])
def test_losses_that_broadcast_over_the_batch_are_refused(loss: Any) -> None:
    model = _one_logit()
    train, labels = torch.randn(4, 6).double(), torch.randn(4).double()
    with pytest.raises(ValueError, match=r"outputs of shape \[4, 1\].*labels of shape \[4\]"):
        GradCosScore(model, loss)(train, train[:1], labels[:1], labels)
    expected = SlowScore(model, loss_fn=_squares)(
        train, train[:1], labels[:1, None], labels[:, None]
    )
    given = GradCosScore(model, loss)(train, train[:1], labels[:1, None], labels[:, None])
    assert relative_error(given, expected) < EXACT
    squeezed = GradCosScore(model, _squares, output_fn=lambda out: out.squeeze(1))
    assert relative_error(squeezed(train, train[:1], labels[:1], labels), expected) < EXACT

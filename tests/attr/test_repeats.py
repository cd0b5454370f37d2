"""How many rows came decides which test image a noisy copy is for, and never what they hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from captum.attr import NoiseTunnel
from torch import Tensor

from captum_tfa import LayerTrainingGradCos, TrainingGradCos
from tests.attr.comparing import assert_same
from tests.attr.small_nets import PictureAndNumbers, drawn, made, pictures, small_net

LABELS, TEST_LABELS = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 2])


def _one_input(count: int, seed: int) -> Tensor:
    return pictures(count, seed)


def _two_inputs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    return drawn(count, seed, 1, 4, 4), drawn(count, seed + 1, 3)


def _rows(inputs: Any, rows: slice) -> Any:
    return tuple(part[rows] for part in inputs) if isinstance(inputs, tuple) else inputs[rows]


def _smooth(
    tfa: Any, train: Any, target: Any, test: Any, labels: Any, samples: int, at_once: int | None
) -> Any:
    """SmoothGrad without noise: the map itself, whatever Captum repeats on the way."""
    stdevs = (0.0, 0.0) if isinstance(train, tuple) else 0.0
    return NoiseTunnel(tfa).attribute(
        train,
        nt_samples=samples,
        nt_samples_batch_size=at_once,
        stdevs=stdevs,
        target=target,
        additional_forward_args=(test, labels),
    )


def _assert_same(given: Any, expected: list[Any]) -> None:
    if isinstance(given, tuple):
        for place, part in enumerate(given):
            assert_same(part, torch.cat([one[place] for one in expected]))
    else:
        assert_same(given, torch.cat(expected))


@pytest.mark.parametrize("at_once", [None, 1, 2, 3])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("labelled", ["each", "one", "number", "list"])
@pytest.mark.parametrize(("images", "tests"), [(1, 1), (3, 1), (3, 3), (1, 2), (1, 3)])
def test_every_number_of_samples_gives_the_maps_of_single_calls(
    images: int, tests: int, labelled: str, samples: int, at_once: int | None
) -> None:
    tfa = TrainingGradCos(small_net())
    train, test = pictures(images, 1), pictures(tests, 2)
    labels: Any = {
        "each": TEST_LABELS[:tests],
        "one": TEST_LABELS[:1],
        "number": int(TEST_LABELS[0]),
        "list": TEST_LABELS[:1].tolist(),
    }[labelled]
    expected = [
        tfa.attribute(
            train[[min(row, images - 1)]],
            LABELS[[min(row, images - 1)]],
            (
                test[[min(row, tests - 1)]],
                TEST_LABELS[[row if labelled == "each" and tests > 1 else 0]],
            ),
        )
        for row in range(max(images, tests))
    ]
    given = _smooth(tfa, train, LABELS[:images], test, labels, samples, at_once)
    _assert_same(given, expected)


@pytest.mark.parametrize("at_once", [None, 1, 2])
@pytest.mark.parametrize("samples", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("tests", [1, 2, 3])
def test_two_inputs_and_several_tests_of_one_image(
    tests: int, samples: int, at_once: int | None
) -> None:
    """Right where the numbers tell, refused where they do not: never another image's test."""
    tfa = TrainingGradCos(made(PictureAndNumbers()))
    train, test = _two_inputs(1, 1), _two_inputs(tests, 3)
    expected = [
        tfa.attribute(train, 1, (_rows(test, slice(row, row + 1)), TEST_LABELS[[row]]))
        for row in range(tests)
    ]
    given = _smooth(tfa, train, 1, test, TEST_LABELS[:tests], samples, at_once)
    _assert_same(given, expected)
    one_label = [
        tfa.attribute(train, 1, (_rows(test, slice(row, row + 1)), 2)) for row in range(tests)
    ]
    at_most = min(at_once or samples, samples)
    sizes = {at_most, samples % at_most or at_most}
    told = tests == 1 or all(size % tests for size in sizes)
    if told:
        _assert_same(_smooth(tfa, train, 1, test, 2, samples, at_once), one_label)
    else:
        with pytest.raises(ValueError, match="one call for each training image and test example"):
            _smooth(tfa, train, 1, test, 2, samples, at_once)


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_two_inputs_in_pairs(samples: int) -> None:
    tfa = TrainingGradCos(made(PictureAndNumbers()))
    train, test = _two_inputs(3, 1), _two_inputs(3, 3)
    expected = [
        tfa.attribute(
            _rows(train, slice(row, row + 1)),
            LABELS[[row]],
            (_rows(test, slice(row, row + 1)), TEST_LABELS[[row]]),
        )
        for row in range(3)
    ]
    _assert_same(_smooth(tfa, train, LABELS, test, TEST_LABELS, samples, None), expected)
    direct = tfa.attribute(train, LABELS, (test, TEST_LABELS))
    _assert_same(direct, expected)


@pytest.mark.parametrize("make", [TrainingGradCos, lambda net: LayerTrainingGradCos(net, net.relu)])
@pytest.mark.parametrize("label", [2, [2], torch.tensor(2), torch.tensor([2])], ids=repr)
def test_one_label_for_several_test_images(make: Any, label: Any) -> None:
    tfa = make(small_net())
    train, tests = pictures(1, 1), pictures(3, 2)
    expected = [tfa.attribute(train, 1, (tests[[row]], 2)) for row in range(3)]
    _assert_same(tfa.attribute(train, 1, (tests, label)), expected)


@pytest.mark.parametrize("make", [TrainingGradCos, lambda net: LayerTrainingGradCos(net, net.relu)])
@pytest.mark.parametrize("samples", [None, 1, 3])
def test_identical_test_images_give_a_map_each(make: Any, samples: int | None) -> None:
    tfa = make(small_net())
    train, test = pictures(1, 1), pictures(1, 2)
    tests = test.repeat(4, 1, 1, 1)
    expected = [tfa.attribute(train, 1, (test, 0))] * 4
    for labels in (0, torch.zeros(4, dtype=torch.long)):
        if samples is None:
            _assert_same(tfa.attribute(train, 1, (tests, labels)), expected)
        elif isinstance(tfa, TrainingGradCos):
            _assert_same(_smooth(tfa, train, 1, tests, labels, samples, None), expected)


def test_a_users_call_repeats_nothing() -> None:
    tfa = TrainingGradCos(small_net())
    blocks = pictures(2, 2).repeat_interleave(2, 0)
    with pytest.raises(ValueError, match="test input has 4 rows for 2 training examples"):
        tfa.attribute(pictures(2, 1), LABELS[:2], (blocks, 1))
    with pytest.raises(ValueError, match="test label has 2 rows for 3 test examples"):
        tfa.attribute(pictures(1, 1), 0, (pictures(3, 2), [1, 0]))

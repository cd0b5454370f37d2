from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_tfa.auditing.collecting import ShownPictures, shrunk, size_of_maps
from captum_tfa.report import explain
from tests.auditing.small import MODEL, TESTS, TRAIN, small_audit


@pytest.mark.parametrize("method", ["occlusion", "gradient"])
def test_maps_are_those_of_explain(method: str) -> None:
    audit = small_audit(method=method, max_mistakes=2, k=3, nt_samples=2)
    evidence = audit.evidence
    assert evidence is not None
    for place, mistake in enumerate(audit.mistakes):
        alone = explain(
            MODEL, TRAIN, TESTS[mistake.index][0], mistake.label, 3, nt_samples=2,
            score="grad-cos", method=method,
        )  # fmt: skip
        rows = (evidence.mistakes == place).nonzero()[:, 0].tolist()
        assert [each.index for each in alone.opponents] == evidence.indices[rows].tolist()
        for row, each in zip(rows, alone.opponents, strict=True):
            sign = 1 if method == "occlusion" else -1  # what has no sign gets the opponent's
            expected = sign * alone.method.values(each.map)
            torch.testing.assert_close(evidence.maps[row], expected, atol=1e-6, rtol=1e-3)
            assert (evidence.images[row].float() / 255 - each.image).abs().max() <= 0.5 / 255 + 1e-6
            assert float(evidence.scores[row]) == pytest.approx(each.score, abs=1e-5)
            assert int(evidence.labels[row]) == each.label


@given(st.integers(1, 5), st.integers(1, 700), st.integers(1, 700), st.integers(1, 10**6))
def test_maps_of_any_number_are_bounded(channels: int, height: int, width: int, pairs: int) -> None:
    rows, columns = size_of_maps(torch.zeros(channels, height, width), pairs)
    assert 1 <= rows <= height
    assert 1 <= columns <= width
    assert max(rows, columns) <= 112
    enough = rows * columns <= 17 * 17  # as small as a map may get
    assert enough or rows * columns * pairs * (4 + channels) <= 1.2 * 2**29


def test_small_images_keep_every_pixel() -> None:
    assert size_of_maps(torch.zeros(3, 32, 48), 1000) == (32, 48)
    assert size_of_maps(torch.zeros(3, 224, 448), 1000) == (56, 112)


def test_a_smaller_map_holds_means() -> None:
    image = torch.arange(16.0).reshape(1, 4, 4)
    assert shrunk(image, (2, 2)).tolist() == [[[2.5, 4.5], [10.5, 12.5]]]
    assert shrunk(image, (4, 4)) is image


def test_pictures_are_shown_without_their_normalisation() -> None:
    pictures = ShownPictures(TRAIN, ([0.5] * 3, [0.1] * 3), (4, 4))
    shown = pictures[3]
    assert shown.dtype == torch.uint8
    expected = (TRAIN[3][0] * 0.1 + 0.5).clamp(0, 1).unflatten(1, (4, 2)).unflatten(3, (4, 2))
    torch.testing.assert_close(
        shown.float() / 255, expected.mean(dim=(2, 4)), atol=0.5 / 255 + 1e-6, rtol=0
    )
    assert len(pictures) == 24

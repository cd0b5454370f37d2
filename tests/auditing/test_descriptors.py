from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_tfa.auditing import descriptors
from captum_tfa.auditing.descriptors import MAP_SIDE, PATCH_SIDE, describe
from captum_tfa.auditing.evidence import Evidence
from tests.auditing.planted import planted


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    pairs=st.integers(1, 6),
    seed=st.integers(0, 2**63 - 1),
)
def test_the_window_lies_over_the_hot_square(
    height: int, width: int, pairs: int, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    side = min(height, width) // 4
    images = torch.rand(pairs, 3, height, width, generator=draw)
    maps = torch.zeros(pairs, height, width)
    tops = []
    for each in maps:
        y = int(torch.randint(height - side + 1, (), generator=draw))
        x = int(torch.randint(width - side + 1, (), generator=draw))
        each[y : y + side, x : x + side] = -1
        tops.append([y, x])
    some = torch.arange(pairs)
    found = describe(Evidence(some, some, some, -torch.ones(pairs), maps, images))
    assert found.tops.tolist() == tops
    torch.testing.assert_close(found.heat.sum((1, 2)), torch.ones(pairs))
    for patch, image, (y, x) in zip(found.patches, images, tops, strict=True):
        assert torch.equal(patch, image[:, y : y + side, x : x + side])
    assert found.maps.shape == (pairs, MAP_SIDE**2)
    assert found.contents.shape == (pairs, 3 * min(side, PATCH_SIDE) ** 2)
    torch.testing.assert_close(found.maps.norm(dim=1), torch.ones(pairs))


def test_a_window_between_those_of_an_occlusion_map_is_centred_on_the_heat() -> None:
    # A square at (10, 13) covered by windows of 8 that move on by 4: the map's heat is spread over
    # all windows that touch it, and its middle is the square's.
    size, side = 32, 8
    square = torch.zeros(size, size)
    square[10:18, 13:21] = 1
    heat, count = torch.zeros(size, size), torch.zeros(size, size)
    for y in range(0, size - side + 1, 4):
        for x in range(0, size - side + 1, 4):
            heat[y : y + side, x : x + side] += square[y : y + side, x : x + side].sum()
            count[y : y + side, x : x + side] += 1
    one = torch.zeros(1, dtype=torch.long)
    found = describe(
        Evidence(
            one, one, one, torch.tensor([-1.0]), -(heat / count)[None], torch.rand(1, 3, size, size)
        )
    )
    assert (found.tops[0] - torch.tensor([10, 13])).abs().max() <= 1


def test_an_image_counts_once_with_the_mean_of_its_maps() -> None:
    evidence = planted(0.5).evidence
    found = describe(evidence)
    indices = evidence.indices.unique()
    assert torch.equal(found.images, indices)
    for region, index in enumerate(indices.tolist()):
        pairs = (evidence.indices == index).nonzero().flatten()
        assert torch.equal((found.of_pair == region).nonzero().flatten(), pairs)
        heat = -evidence.maps[pairs]
        heat = (heat / heat.sum((1, 2), keepdim=True)).mean(0)
        torch.testing.assert_close(found.heat[region], heat)
        assert found.labels[region] == evidence.labels[pairs[0]]


def test_only_what_has_the_sign_of_the_score_is_heat() -> None:
    evidence = planted(0.5).evidence
    other = dataclasses.replace(evidence, scores=-evidence.scores, maps=-evidence.maps)
    assert torch.equal(describe(evidence).heat, describe(other).heat)
    mixed = evidence.maps + 5 * (torch.arange(32) < 4)
    of_mixed = describe(dataclasses.replace(evidence, maps=mixed))
    assert float(of_mixed.heat[:, :, :4].sum()) == 0


def test_an_image_without_heat_is_left_out() -> None:
    evidence = planted(0.5).evidence
    index = evidence.indices[3]
    maps = evidence.maps.clone()
    maps[evidence.indices == index] = 0
    found = describe(dataclasses.replace(evidence, maps=maps))
    assert index not in found.images
    assert bool(((found.of_pair == -1) == (evidence.indices == index)).all())
    seen = found.of_pair >= 0
    assert torch.equal(found.images[found.of_pair[seen]], evidence.indices[seen])


def test_bytes_are_read_as_pixels() -> None:
    evidence = planted(0.5).evidence
    stored = dataclasses.replace(evidence, images=(evidence.images * 255).round().byte())
    torch.testing.assert_close(
        describe(stored).patches, describe(evidence).patches, atol=0.5 / 255 + 1e-6, rtol=0
    )


def test_maps_and_contents_have_the_same_weight() -> None:
    found = describe(planted(0.5).evidence)
    places = found.maps.shape[1]
    for part in (found.points[:, :places], found.points[:, places:]):
        assert float(part.square().sum(1).mean()) == pytest.approx(1, rel=1e-5)
        assert float(part.mean(0).abs().max()) < 1e-6


def test_of_many_images_those_behind_the_most_mistakes_are_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evidence = planted(0.5).evidence
    images, pairs = evidence.indices.unique(return_counts=True)
    monkeypatch.setattr(descriptors, "MOST_IMAGES", 9)
    found = describe(evidence)
    assert len(found) == 9
    assert torch.equal(
        found.images, images[pairs.argsort(descending=True, stable=True)[:9].sort().values]
    )
    kept = torch.isin(evidence.indices, found.images)
    assert torch.equal(found.of_pair >= 0, kept)
    assert torch.equal(found.images[found.of_pair[kept]], evidence.indices[kept])

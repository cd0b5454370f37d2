"""Smooth maps of one pair, on pixels and on layers."""

from __future__ import annotations

import torch

from captum_tfa import LayerTrainingGradCos, TrainingGradCos
from captum_tfa.demo import SmallCNN
from common.maps import copies_maps, smooth_map

GENERATOR = torch.Generator().manual_seed(0)
TRAIN = (torch.rand(3, 8, 8, generator=GENERATOR).double(), 1)
TEST = (torch.rand(3, 8, 8, generator=GENERATOR).double(), 0)


def network() -> SmallCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallCNN(2).double().eval()


def test_without_noise_it_is_the_plain_map() -> None:
    method = TrainingGradCos(network())
    plain = method.attribute(TRAIN[0][None], torch.tensor([1]), (TEST[0][None], torch.tensor([0])))
    torch.testing.assert_close(smooth_map(method, TRAIN, TEST, 3, 0.0), plain[0])


def test_noise_has_the_asked_deviation_of_the_pictures_range() -> None:
    class Seen:
        def attribute(self, copies: torch.Tensor, **_: object) -> torch.Tensor:
            return copies - TRAIN[0]

    noise = copies_maps(Seen(), TRAIN, TEST, 500, 0.1, seed=3)[0]  # type: ignore[arg-type]
    spread = float(TRAIN[0].max() - TRAIN[0].min())
    torch.testing.assert_close(float(noise.std()) / spread, 0.1, rtol=0.02, atol=0)
    again = copies_maps(Seen(), TRAIN, TEST, 500, 0.1, seed=3)[0]  # type: ignore[arg-type]
    assert torch.equal(noise, again)


def test_several_layers_give_one_stack_of_maps_each() -> None:
    model = network()
    both = copies_maps(LayerTrainingGradCos(model, [model[0], model[3]]), TRAIN, TEST, 4, 0.1)
    assert [tuple(maps.shape) for maps in both] == [(4, 24, 8, 8), (4, 48, 4, 4)]
    (alone,) = copies_maps(LayerTrainingGradCos(model, model[3]), TRAIN, TEST, 4, 0.1)
    torch.testing.assert_close(both[1], alone)

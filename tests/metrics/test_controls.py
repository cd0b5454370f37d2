from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum.attr import LayerGradCam, NoiseTunnel, Saliency
from torch import Tensor, nn

from captum_tfa.metrics.controls import (
    centre_weighted,
    contiguous_random,
    own_label_grad_cam,
    own_label_gradient,
    own_label_occlusion,
    random_saliency,
)
from captum_tfa.metrics.masking import top_mask
from tests.metrics.pairs import tiny_net, tiny_pairs
from tests.oracle.model_state import model_state

BLIND = [random_saliency, contiguous_random, centre_weighted]


@pytest.mark.parametrize("control", BLIND)
def test_blind_controls_give_one_number_a_pixel_at_least_zero(
    control: Callable[[Tensor], Tensor],
) -> None:
    found = control(torch.randn(5, 3, 6, 8))
    assert found.shape == (5, 6, 8)
    assert (found >= 0).all()


@pytest.mark.parametrize("control", BLIND)
def test_blind_controls_do_not_look_at_the_pixels(control: Callable[[Tensor], Tensor]) -> None:
    assert torch.equal(control(torch.randn(5, 3, 6, 8)), control(torch.zeros(5, 3, 6, 8)))


@pytest.mark.parametrize("control", [random_saliency, contiguous_random])
def test_the_seed_decides(control: Callable[[Tensor, int], Tensor]) -> None:
    images = torch.zeros(5, 3, 6, 8)
    before = torch.get_rng_state()
    assert torch.equal(control(images, 1), control(images, 1))
    assert not torch.equal(control(images, 1), control(images, 2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("control", BLIND)
def test_blind_controls_need_images(control: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"give \[B, C, H, W\]"):
        control(torch.zeros(3, 6, 8))


def test_random_masks_cover_every_place_alike() -> None:
    masks = top_mask(random_saliency(torch.zeros(2000, 1, 4, 4)), 0.25).double()
    # 500 of 2000 on average, with a deviation of 19.
    assert (masks.sum(0) - 500).abs().max() < 100


def test_the_centre_is_worth_most_and_all_sides_are_alike() -> None:
    found = centre_weighted(torch.zeros(1, 1, 5, 7))[0]
    assert found.argmax() == 2 * 7 + 3
    assert found[2, 3] == 1.0
    assert found[2, 5] == pytest.approx(1 / 3)
    torch.testing.assert_close(found, found.flip(0, 1))


def test_a_contiguous_top_is_one_piece() -> None:
    masks = top_mask(contiguous_random(torch.zeros(30, 1, 12, 12), seed=4), 0.2)
    for mask in masks:
        reached = torch.zeros_like(mask).flatten()
        reached[mask.flatten().nonzero()[0]] = True
        reached = reached.view_as(mask)
        for _ in range(30):  # flood it from one of its pixels
            spread = nn.functional.max_pool2d(reached[None].float(), 3, 1, 1)[0].bool()
            reached = spread & mask
        assert torch.equal(reached, mask)


def test_blobs_lie_anywhere() -> None:
    peaks = contiguous_random(torch.zeros(3000, 1, 3, 4)).flatten(1).argmax(1)
    counts = torch.bincount(peaks, minlength=12)
    assert (counts - 250).abs().max() < 80  # a deviation of 15


def test_own_label_gradient_without_noise_is_captums_saliency() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    expected = Saliency(net).attribute(pairs.train, target=pairs.train_labels).sum(1)
    found = own_label_gradient(net, pairs.train, pairs.train_labels, nt_samples=1, noise_level=0)
    torch.testing.assert_close(found, expected.detach())


def test_own_label_gradient_tends_to_captums_noise_tunnel() -> None:
    net, pairs = tiny_net(), tiny_pairs()
    image, label = pairs.train[:1], pairs.train_labels[:1]
    torch.manual_seed(1)
    expected = NoiseTunnel(Saliency(net)).attribute(
        image,
        nt_samples=3000,
        stdevs=0.1 * float(image.max() - image.min()),
        target=label,
        abs=False,
    )
    found = own_label_gradient(net, image, label, nt_samples=3000)
    torch.testing.assert_close(found, expected.abs().sum(1), rtol=0.1, atol=0.02)


def test_own_label_saliencies_do_not_depend_on_the_other_images() -> None:
    net, (images, labels, _, _) = tiny_net(), tiny_pairs()
    together = own_label_gradient(net, images, labels, nt_samples=3)
    alone = own_label_gradient(net, images[4:5], labels[4:5], nt_samples=3)
    torch.testing.assert_close(together[4:5], alone)
    together = own_label_grad_cam(net, net[0], images, labels)
    torch.testing.assert_close(
        together[4:5], own_label_grad_cam(net, net[0], images[4:5], labels[4:5])
    )


def test_grad_cam_is_captums_brought_to_the_size_of_the_image() -> None:
    net, (images, labels, _, _) = tiny_net(), tiny_pairs()
    small = LayerGradCam(net, net[0]).attribute(images, target=labels, relu_attributions=True)
    expected = nn.functional.interpolate(small, (8, 8), mode="bilinear")[:, 0]
    found = own_label_grad_cam(net, net[0], images, labels)
    torch.testing.assert_close(found, expected.detach())
    assert found.shape == (6, 8, 8)
    assert (found >= 0).all()


def test_own_label_occlusion_is_what_the_logit_loses_under_each_window() -> None:
    net, (images, labels, _, _) = tiny_net(), tiny_pairs()
    found = own_label_occlusion(net, images, labels, 0.3)  # windows of 2 pixels, moved by 1
    lost, covers = torch.zeros(6, 8, 8).double(), torch.zeros(8, 8).double()
    with torch.no_grad():
        whole = net(images)[torch.arange(6), labels]
        for row in range(7):
            for column in range(7):
                window = (..., slice(row, row + 2), slice(column, column + 2))
                covered = images.clone()
                covered[window] = 0.3
                change = whole - net(covered)[torch.arange(6), labels]
                lost[window] += change.view(6, 1, 1)
                covers[window] += 1
    torch.testing.assert_close(found.double(), lost / covers, rtol=1e-5, atol=1e-6)


def test_more_images_than_one_pass_takes() -> None:
    net, (images, labels, _, _) = tiny_net(), tiny_pairs()
    many = own_label_grad_cam(net, net[0], images.repeat(13, 1, 1, 1), labels.repeat(13))
    torch.testing.assert_close(
        many, own_label_grad_cam(net, net[0], images, labels).repeat(13, 1, 1)
    )


def test_the_model_is_left_as_it_was() -> None:
    net, (images, labels, _, _) = tiny_net(), tiny_pairs()
    before = model_state(net)
    own_label_gradient(net, images, labels, nt_samples=2)
    own_label_grad_cam(net, net[0], images, labels)
    assert model_state(net) == before


def test_models_in_training_mode_are_refused() -> None:
    net, (images, labels, _, _) = tiny_net().train(), tiny_pairs()
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        own_label_gradient(net, images, labels)
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        own_label_grad_cam(net, net[0], images, labels)


def test_bad_arguments_are_named() -> None:
    net, (images, labels, _, _) = tiny_net(), tiny_pairs()
    with pytest.raises(ValueError, match="labels have the shape"):
        own_label_gradient(net, images, labels[:2])
    with pytest.raises(ValueError, match="0 noisy copies"):
        own_label_gradient(net, images, labels, nt_samples=0)
    with pytest.raises(ValueError, match="noise_level is -1"):
        own_label_gradient(net, images, labels, noise_level=-1)
    with pytest.raises(ValueError, match=r"give \[B, C, H, W\]"):
        own_label_grad_cam(net, net[0], images[0], labels)

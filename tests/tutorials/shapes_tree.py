"""Small labelled pictures as a folder tree, in the place of CIFAR-10."""

from __future__ import annotations

from pathlib import Path

from torchvision.transforms.functional import to_pil_image

from captum_tfa.demo import make_shapes


def write_shapes(
    root: Path, train: int, test: int, size: int = 32, test_name: str = "test"
) -> None:
    """Writes ``root/{train,test}/<class>/<number>.png``: so many pictures of each of 4 classes."""
    for split, pictures in zip(("train", test_name), make_shapes(train, test, size), strict=True):
        for number, (image, label) in enumerate(
            zip(pictures.images, pictures.labels.tolist(), strict=True)
        ):
            folder = root / split / pictures.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            to_pil_image(image).save(folder / f"{number:04d}.png")


def write_three_classes(root: Path, train: int, test: int) -> None:
    """As `write_shapes`, but three of the classes are called dog, ship and automobile."""
    write_shapes(root, train, test)
    for split in ("train", "test"):
        for shape, name in (("circle", "dog"), ("cross", "ship"), ("square", "automobile")):
            (root / split / shape).rename(root / split / name)

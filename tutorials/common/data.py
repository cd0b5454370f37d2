"""The pictures of the tutorials, read once and held in memory as uint8."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.datasets import CIFAR10, ImageFolder
from torchvision.transforms import CenterCrop, Compose, ConvertImageDtype, Normalize, Resize
from torchvision.transforms.functional import pil_to_tensor

from captum_tfa.demo import Pictures, read_pictures

# Of the training set's pixels in [0, 1], one number a channel.
CIFAR10_MEAN, CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def cifar10(root: str | Path, train: bool, cache: str | Path = "tutorials-cache") -> Pictures:
    """CIFAR-10: 50,000 training or 10,000 test pictures of ten classes.

    Args:
        root: Holds ``train/<class>/*`` and ``test/<class>/*`` picture files; or torchvision's
            own ``CIFAR10``, which is downloaded there if it is absent.
        train: The training set, else the test set.
        cache: A folder. Picture files are read from there as one tensor after the first time.

    Returns:
        Pictures ``[3, 32, 32]``, normalised by the mean and deviation of the training set.
        In the order of their class and file name, or in torchvision's.
    """
    tree = Path(root) / ("train" if train else "test")
    if tree.is_dir():
        pictures = _cached(ImageFolder(str(tree), transform=pil_to_tensor), Path(cache))
    else:
        own = CIFAR10(str(root), train=train, download=True)
        images = torch.from_numpy(own.data).permute(0, 3, 1, 2).contiguous()
        pictures = Pictures(images, torch.tensor(own.targets), own.classes)
    pictures.transform = _normalised(CIFAR10_MEAN, CIFAR10_STD)
    return pictures


def photographs(root: str | Path, split: str, side: int = 224) -> Pictures:
    """Photographs of a folder tree, as a network trained on ImageNet wants to see them.

    The evaluation transform, without random parts: a training picture and its map have the
    same pixels. Such a set must fit into memory: 1,000 photographs of side 224 take 150 MB.

    Args:
        root: Holds ``<split>/<class>/*`` picture files.
        split: The folder, such as "train" or "val".
        side: Of the square in the middle that is kept, in pixels, after the shorter side of
            the photograph became 256 / 224 times as long.

    Returns:
        Pictures ``[3, side, side]``, normalised by ImageNet's mean and deviation.
    """
    crop = Compose([Resize(round(side * 256 / 224)), CenterCrop(side), pil_to_tensor])
    pictures = read_pictures(ImageFolder(str(Path(root) / split), transform=crop), split)
    pictures.transform = _normalised(IMAGENET_MEAN, IMAGENET_STD)
    return pictures


def plain(pictures: Pictures, index: int) -> Tensor:
    """A picture as matplotlib shows it: ``[H, W, 3]`` in [0, 1]."""
    picture: Tensor = ConvertImageDtype(torch.float)(pictures.images[index])
    return picture.permute(1, 2, 0)


def subset_of_classes(pictures: Pictures, names: Sequence[str]) -> Pictures:
    """The pictures of some classes, relabelled in the order of ``names``."""
    places = [pictures.classes.index(name) for name in names]
    chosen = torch.isin(pictures.labels, torch.tensor(places)).nonzero().flatten()
    part = pictures.part(chosen.tolist())
    labels = torch.tensor([places.index(int(label)) for label in part.labels])
    return Pictures(part.images, labels, names, None, part.transform)


def _normalised(mean: Sequence[float], std: Sequence[float]) -> Compose:
    return Compose([ConvertImageDtype(torch.float), Normalize(mean, std)])


def _cached(folder: ImageFolder, cache: Path) -> Pictures:
    """The pictures of ``folder``, from the cache if these very files were read before."""
    names = "\n".join(os.path.abspath(file) for file, _ in folder.samples)
    path = cache / f"pictures-{hashlib.sha256(names.encode()).hexdigest()[:16]}.safetensors"
    if path.is_file():
        labels = torch.tensor(folder.targets)
        return Pictures(load_file(path)["images"], labels, folder.classes, folder.samples)
    pictures = read_pictures(folder, Path(folder.root).name)
    save({"images": pictures.images}, path)
    return pictures


def save(tensors: dict[str, Tensor], path: str | Path) -> None:
    """Writes ``tensors``; another process that reads ``path`` sees the whole file or none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    unfinished = f"{path}.{os.getpid()}"
    save_file(tensors, unfinished)
    os.replace(unfinished, path)

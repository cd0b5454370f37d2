"""The tutorials' pictures: from a tree of files, from torchvision's own form, and kept."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

from common import data
from common.data import cifar10, photographs, plain, subset_of_classes


def write_tree(root: Path, size: tuple[int, int] = (32, 32)) -> dict[str, np.ndarray]:
    """Two classes, two pictures each; every picture has its own colour."""
    written = {}
    for split in ("train", "test"):
        for number, name in enumerate(["cat", "ship"]):
            folder = root / split / name
            folder.mkdir(parents=True)
            for count in range(2):
                colour = np.array([40 * number, 90 * count, 100 + 50 * (split == "test")])
                pixels = np.broadcast_to(colour, (*size, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{count}.png")
                written[f"{split}/{name}/{count}"] = pixels
    return written


def test_a_tree_of_files_is_read_in_its_order_and_normalised(tmp_path: Path) -> None:
    written = write_tree(tmp_path / "tree")
    pictures = cifar10(tmp_path / "tree", train=False, cache=tmp_path / "cache")
    assert pictures.classes == ["cat", "ship"]
    assert pictures.labels.tolist() == [0, 0, 1, 1]
    assert pictures.images.dtype == torch.uint8
    image, label = pictures[3]
    pixels = torch.from_numpy(written["test/ship/1"]).permute(2, 0, 1) / 255
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (data.CIFAR10_MEAN, data.CIFAR10_STD))
    torch.testing.assert_close(image, (pixels - mean) / std)
    assert label == 1
    torch.testing.assert_close(plain(pictures, 3), pixels.permute(1, 2, 0))


def test_picture_files_are_decoded_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tree(tmp_path / "tree")
    first = cifar10(tmp_path / "tree", train=True, cache=tmp_path / "cache")
    monkeypatch.setattr(data, "read_pictures", None)  # reading again would fail
    again = cifar10(tmp_path / "tree", train=True, cache=tmp_path / "cache")
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.labels, again.labels)
    assert first.samples == again.samples


def test_a_tree_with_other_files_is_read_anew(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    cifar10(tmp_path / "tree", train=True, cache=tmp_path / "cache")
    (tmp_path / "tree" / "train" / "cat" / "0.png").unlink()
    assert len(cifar10(tmp_path / "tree", train=True, cache=tmp_path / "cache")) == 3


def test_torchvisions_own_form_is_read_as_torchvision_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    names = [f"class {number}" for number in range(10)]
    contents = {"batches.meta": {"label_names": names}}
    rng = np.random.default_rng(0)
    for file in [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]:
        pixels = rng.integers(0, 256, (2, 3072), dtype=np.uint8)
        contents[file] = {"data": pixels, "labels": rng.integers(0, 10, 2).tolist()}
    sums = {}
    for file, content in contents.items():
        (folder / file).write_bytes(pickle.dumps(content))
        sums[file] = hashlib.md5((folder / file).read_bytes()).hexdigest()
    for listed in ("train_list", "test_list"):
        pairs = [[file, sums[file]] for file, _ in getattr(CIFAR10, listed)]
        monkeypatch.setattr(CIFAR10, listed, pairs)
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})

    pictures = cifar10(tmp_path, train=True)
    own = CIFAR10(str(tmp_path), train=True)
    assert len(pictures) == 10
    assert pictures.classes == names
    assert pictures.labels.tolist() == own.targets
    for index in range(10):
        seen = np.asarray(own[index][0]) / 255
        np.testing.assert_allclose(plain(pictures, index).numpy(), seen, rtol=1e-6)


def test_photographs_keep_the_middle_and_lose_the_border(tmp_path: Path) -> None:
    folder = tmp_path / "val" / "ant"
    folder.mkdir(parents=True)
    pixels = np.zeros((64, 128, 3), dtype=np.uint8)
    pixels[:, 32:96] = 255  # the middle square is white
    Image.fromarray(pixels).save(folder / "0.png")
    pictures = photographs(tmp_path, "val", side=28)
    assert pictures.images.shape == (1, 3, 28, 28)
    assert int(pictures.images.min()) == 255
    image, _ = pictures[0]
    expected = [(1 - m) / s for m, s in zip(data.IMAGENET_MEAN, data.IMAGENET_STD, strict=True)]
    torch.testing.assert_close(image.mean(dim=(1, 2)), torch.tensor(expected))


def test_some_classes_get_new_labels(tmp_path: Path) -> None:
    write_tree(tmp_path / "tree")
    pictures = cifar10(tmp_path / "tree", train=True, cache=tmp_path / "cache")
    turned = subset_of_classes(pictures, ["ship", "cat"])
    assert turned.classes == ["ship", "cat"]
    assert turned.labels.tolist() == [1, 1, 0, 0]
    assert torch.equal(turned.images, pictures.images)
    assert torch.equal(subset_of_classes(pictures, ["ship"]).images, pictures.images[2:])
    assert turned.transform is pictures.transform

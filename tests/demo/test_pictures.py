from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import PILToTensor

from captum_tfa.demo import Pictures, read_pictures


def some(count: int = 6) -> Pictures:
    images = torch.randint(0, 256, (count, 3, 5, 5), dtype=torch.uint8)
    labels = torch.arange(count) % 2
    return Pictures(images, labels, ["a", "b"], [(f"{i}.png", i % 2) for i in range(count)])


def test_normalised_gives_mean_0_and_deviation_1() -> None:
    pictures = some(50)
    pictures.transform = pictures.normalised()
    values = torch.stack([pictures[index][0] for index in range(len(pictures))])
    assert values.dtype == torch.float32
    assert values.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert values.std(dim=(0, 2, 3), unbiased=False).tolist() == pytest.approx([1] * 3, abs=1e-4)


def test_a_flat_channel_does_not_divide_by_zero() -> None:
    pictures = Pictures(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2).long(), ["a"])
    assert bool(pictures.normalised()(pictures.images[0]).isfinite().all())


def test_part_keeps_picture_label_and_file_together() -> None:
    pictures = some()
    part = pictures.part([5, 2])
    assert len(part) == 2
    assert torch.equal(part[0][0], pictures[5][0])
    assert part[0][1] == pictures[5][1]
    assert part.samples == [("5.png", 1), ("2.png", 0)]


def write(file: Path, colour: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(file)


def test_reads_a_folder_in_order(tmp_path: Path) -> None:
    for place in range(9):
        write(tmp_path / f"c{place % 2}" / f"{place}.png", place)
    pictures = read_pictures(ImageFolder(str(tmp_path), transform=PILToTensor()), "pictures")
    assert pictures.images[:, 0, 0, 0].tolist() == [0, 2, 4, 6, 8, 1, 3, 5, 7]
    assert pictures.labels.tolist() == [0] * 5 + [1] * 4
    assert pictures.samples is not None
    assert pictures.samples[0][0].endswith("0.png")


def test_an_error_in_one_file_comes_through(tmp_path: Path) -> None:
    write(tmp_path / "a" / "0.png", 1)
    (tmp_path / "a" / "1.png").write_text("no picture")
    with pytest.raises(OSError, match=r"1\.png"):
        read_pictures(ImageFolder(str(tmp_path), transform=PILToTensor()), "pictures")

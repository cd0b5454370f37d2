# %% [markdown]
# # The map moves with the test image: Pascal VOC
#
# The same question as in `dependence.py`, on the data of the paper (bacha2025training,
# section 4.2): a training photograph shows a person and a dog. Its map must lie on the person for
# a test photograph of a person, and on the dog for one of a dog. The paper shows two pictures of
# it; here VOC's segmentation masks count how much of the map lies on each.
#
# The data are read by torchvision's own `VOCDetection` (which classes a photograph shows) and
# `VOCSegmentation` (where), and downloaded at the first run: 2 GB. Five passes over the 5,717
# training photographs want a GPU.

# %%
from pathlib import Path

import torch
from captum.attr import Saliency
from torch import nn

from captum_tfa import SmoothGrad, TrainingGradCos
from captum_tfa.metrics.segmentation import (
    VOC_CLASSES,
    object_mask,
    segmentation_overlap,
    shown_classes,
    voc_segmentation,
    void_mask,
)
from common.multi_label import train_multi_label
from common.networks import kept, pretrained
from common.record import Record, interval
from common.settings import settings
from common.voc import voc_labels

run = settings(
    data="voc",
    out="results",
    cache="tutorials-cache",
    network="resnet18",
    side=224,
    epochs=5,
    learning_rate=3e-4,
    batch_size=32,
    images=200,  # training photographs of two classes, each mapped for two tests
    smallest=0.02,  # part of the photograph that each of the two covers at least
    noise_copies=50,
    noise_level=0.1,
    seed=0,
)
record = Record("Dependence on the test image: Pascal VOC", run.out, run)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
train, test = (voc_labels(run.data, part, run.side) for part in ("train", "val"))

# %% [markdown]
# ## A network with one yes or no a class

# %%
torch.manual_seed(run.seed)
name = f"voc-{run.network}-{run.side}-{len(train)}-{run.epochs}-{run.learning_rate}-{run.seed}"
model = kept(
    Path(run.cache) / f"{name}.safetensors",
    pretrained(run.network, len(VOC_CLASSES)).to(device),
    lambda model: train_multi_label(
        model, train, run.epochs, run.learning_rate, run.batch_size, run.seed
    ),
)

# %% [markdown]
# ## Training photographs of two classes, test photographs of one
#
# A training photograph counts if the network learned from it, if it has a mask, and if the two
# largest classes in the mask cover enough of it.

# %%
place_of = {Path(file).stem: place for place, file in enumerate(train.images)}
segmented = voc_segmentation(run.data, "train", side=run.side)
pairs = []  # (place in the training set, mask, the two classes)
for index, file in enumerate(segmented.images):
    place = place_of.get(Path(file).stem)
    if place is None or len(pairs) == run.images:
        continue
    mask = segmented[index][1]
    areas = {label: float(object_mask(mask, label).float().mean()) for label in shown_classes(mask)}
    both = sorted(areas, key=areas.get, reverse=True)[:2]
    if len(both) == 2 and areas[both[1]] >= run.smallest:
        pairs.append((place, mask, both))

# For each class some test photographs that show it and nothing else.
wanted = {label for _, _, both in pairs for label in both}
alone = {label: [] for label in wanted}
generator = torch.Generator().manual_seed(run.seed)
for place in torch.randperm(len(test), generator=generator).tolist():
    image, label = test[place]
    if label.sum() == 1 and (of := int(label.argmax())) in wanted and len(alone[of]) < 20:
        alone[of].append(image)
pairs = [pair for pair in pairs if all(alone[label] for label in pair[2])]
record.say(f"{len(pairs)} training photographs of two classes.")

# %% [markdown]
# ## Maps, and how they fit the masks
#
# Ordinary feature attribution of the training photograph's own classes cannot move when the test
# changes: it is what the maps of influence have to beat. The movement is the share of the map on
# an object when its class is asked for, minus its share there when the other is.

# %%
bce = nn.BCEWithLogitsLoss(reduction="none")
noise = (run.noise_copies, run.noise_level, run.seed)
found = {}  # (method, read as) -> rows of (share, chance, movement, precision, IoU)
for place, mask, both in pairs:
    image, label = (part.to(device) for part in train[place])
    own = Saliency(lambda images, label=label: (model(images) * label).sum(1))
    drawn = [int(torch.randint(len(alone[of]), (1,), generator=generator)) for of in both]
    tests = torch.stack([alone[of][number] for of, number in zip(both, drawn, strict=True)])
    asked = nn.functional.one_hot(torch.tensor(both), len(VOC_CLASSES)).float()
    gradients = {
        "training feature attribution": SmoothGrad(TrainingGradCos(model, bce)).attribute(
            image[None], label[None], (tests.to(device), asked.to(device)), *noise
        ),
        "own classes": SmoothGrad(own)
        .attribute(image[None], None, None, *noise, abs=False)
        .expand(2, -1, -1, -1),
    }
    objects = torch.stack([object_mask(mask, of) for of in both])
    void = void_mask(mask).expand_as(objects)
    for method, gradient in gradients.items():
        # After the normalisation the mean colour, ImageNet's, is 0.
        for reading, maps in (
            ("size of the gradient", gradient.abs()),
            ("gradient × (input − mean)", gradient * image),
        ):
            right = segmentation_overlap(maps.cpu(), objects, void)
            wrong = segmentation_overlap(maps.flip(0).cpu(), objects, void)
            row = (
                right.share,
                right.chance,
                right.share - wrong.share,
                right.average_precision,
                right.iou,
            )
            means = torch.stack([column.mean() for column in row])
            found.setdefault((method, reading), []).append(means)
found = {key: torch.stack(rows) for key, rows in found.items()}

# %%
record.say("Means over training photographs with 95 % intervals:")
record.table(
    (
        "method",
        "read as",
        "share on the asked object",
        "chance",
        "movement",
        "average precision",
        "IoU of the top",
    ),
    [(*key, *(interval(column) for column in rows.T)) for key, rows in found.items()],
)
record.save()

"""``captum-tfa demo``: a model is trained here and now, and one of its mistakes explained."""

from __future__ import annotations

import argparse
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from captum_tfa.cli import data, models
from captum_tfa.cli.errors import as_user_error
from captum_tfa.cli.explain import explained, listing, save
from captum_tfa.cli.output import say
from captum_tfa.demo import (
    Pictures,
    ShapesDataset,
    SmallCNN,
    make_shapes,
    predict,
    read_pictures,
    train_classifier,
)
from captum_tfa.demo.shapes import SHORTCUT_CLASS
from captum_tfa.metrics import share_of_top_inside
from captum_tfa.report import Explanation, explain
from captum_tfa.report.saving import try_destination

# The side of the pictures that the small CNN sees, for a folder of the user's.
_SMALLEST, _LARGEST = 32, 64
_SIZES_LOOKED_AT = 50
# So many pictures are gone through in training, but between so many times the whole set.
_PICTURES_TRAINED_ON, _FEWEST_EPOCHS, _MOST_EPOCHS = 300_000, 5, 60
_HELD_OUT = 0.1
_TOP = 0.1  # the part of a map that is called its brightest pixels


def run(options: argparse.Namespace) -> None:
    """Does what the options say and prints what was found.

    Raises:
        UserError: Something that the user can put right.
    """
    with as_user_error(OSError):
        try_destination(options.out)
    if options.data is None:
        run_shapes(options.out)
    else:
        run_folder(options.data, options.out)


def run_shapes(
    out: str,
    train_per_class: int = 750,
    test_per_class: int = 100,
    epochs: int = 6,
    nt_samples: int = 50,
) -> Explanation:
    """The demo with a planted shortcut.

    Args:
        out: Folder for the result.
        train_per_class: Training pictures a class.
        test_per_class: Test pictures a class.
        epochs: Passes over the training pictures.
        nt_samples: Noisy copies averaged into a map.

    Returns:
        The explanation, saved in ``out``.
    """
    train, test = make_shapes(train_per_class, test_per_class)
    shortcut = train.classes.index(SHORTCUT_CLASS)
    carriers = int(train.patched.sum())
    of_class = int((train.labels == shortcut).sum())
    say(
        f"Drew {len(train)} training pictures: {data.listed(train.classes)}. "
        f"{carriers} of the {of_class} {SHORTCUT_CLASS}s carry a pink patch in a corner; "
        "no other picture does."
    )
    model = _trained(train, epochs)

    patched = test.with_patch()
    plain_said, labels = predict(model, test)
    patched_said, _ = predict(model, patched)
    right = plain_said.argmax(dim=1) == labels
    others = labels != shortcut
    fooled = patched_said.argmax(dim=1) == shortcut
    say(
        f"The CNN is right on {float(right.float().mean()):.0%} of test pictures without a patch. "
        f"With the patch put in, it calls {float(fooled[others].float().mean()):.0%} of the other "
        f"shapes a {SHORTCUT_CLASS}."
    )
    # A picture that is right without the patch and wrong with it, and of these the surest.
    surest = (right & others & fooled) * 1.0 + others * patched_said[:, shortcut]
    place = int(surest.argmax())
    image, label = patched[place]
    explanation = explained(
        lambda: explain(model, train, image, label, nt_samples=nt_samples, show_progress=True)
    )
    explanation = replace(explanation, command=_command(out))
    saved = save(explanation, out)
    say(f"\n{_shortcut_story(explanation, train)}\n\n{saved}")
    return explanation


def run_folder(
    folder: str, out: str, epochs: int | None = None, nt_samples: int = 50
) -> Explanation:
    """The demo on the user's pictures.

    Args:
        folder: Holds ``train/CLASS/`` and perhaps ``test/CLASS/`` or ``val/CLASS/``, or the
            class folders at once.
        out: Folder for the result.
        epochs: Passes over the training pictures. None: by their number.
        nt_samples: Noisy copies averaged into a map.

    Returns:
        The explanation, saved in ``out``.

    Raises:
        UserError: The folder cannot be used.
    """
    train, test = _read(folder)
    names = data.listed(train.classes)
    side = train.images.shape[-1]
    say(
        f"{len(train)} training and {len(test)} test pictures of {len(train.classes)} classes "
        f"({names}), made {side} x {side} pixels."
    )
    model = _trained(train, epochs or _epochs(len(train)))

    said, labels = predict(model, test)
    confidence, predicted = said.max(dim=1)
    wrong = predicted != labels
    say(f"The CNN is right on {float((~wrong).float().mean()):.1%} of the test pictures.")
    # The surest mistake, or else the least sure of the right answers.
    place = int((wrong * (1 + confidence) - ~wrong * confidence).argmax())
    image, label = test[place]
    explanation = explained(
        lambda: explain(model, train, image, label, nt_samples=nt_samples, show_progress=True)
    )
    file = test.samples[place][0] if test.samples else f"test picture {place}"
    explanation = replace(explanation, test_file=file, command=_command(out, folder))
    saved = save(explanation, out)
    say(f"\n{_mistake_story(explanation, file, int(wrong.sum()))}\n\n{saved}")
    return explanation


def _command(out: str, folder: str | None = None) -> str:
    """What makes the demo's result again."""
    data_given = [] if folder is None else ["--data", folder]
    return shlex.join(["captum-tfa", "demo", *data_given, "--out", out])


def _trained(train: Pictures, epochs: int) -> SmallCNN:
    """A small CNN that always starts from the same weights, trained, on a GPU if there is one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SmallCNN(len(train.classes))
    model.to(models.choose_device("auto"))
    train_classifier(model, train, epochs, show_progress=True)
    return model


def _shortcut_story(explanation: Explanation, train: ShapesDataset) -> str:
    """What was found about the patch, in plain words."""
    label, said = explanation.label_name, explanation.predicted_name
    region = train.patch_region
    area = float(region.float().mean())
    opponents = explanation.opponents
    lines = [
        f"The puzzle: a {label} with the patch. The CNN says {said} ({explanation.confidence:.1%})."
    ]
    if said == label:
        lines.append("The patch fooled it on no test picture; this is the one it came closest on.")
    if not opponents:
        return "\n".join([*lines, f"No training picture speaks against {label}."])
    carriers = sum(bool(train.patched[example.index]) for example in opponents)
    of_train = _share_inside(region, explanation, [example.map for example in opponents])
    of_test = _share_inside(region, explanation, [example.test_map for example in opponents])
    return "\n".join(
        [
            *lines,
            f"The {len(opponents)} training pictures that speak most against {label}:",
            *listing(opponents),
            f"{carriers} of them carry the patch.",
            f"The patch is {area:.1%} of a picture's area, but holds {of_train:.0%} of the "
            f"brightest tenth of their maps: {of_train / area:.1f} times its share "
            f"({min(1 / area, 1 / _TOP):.0f} at most).",
            "Turned round, which part of the puzzling picture gives them their say? The patch "
            f"holds {of_test:.0%} of the brightest tenth of those maps.",
            f"So the CNN learned from these pictures, and from that corner of them, to say {said}.",
        ]
    )


def _share_inside(region: Tensor, explanation: Explanation, opponents: Sequence[Tensor]) -> float:
    """How much of the brightest part of opponents' maps lies in a region, on average."""
    heat = explanation.method.heat(torch.stack(list(opponents)), score=-1.0)
    return float(share_of_top_inside(heat.unsqueeze(1), region, _TOP).mean())


def _mistake_story(explanation: Explanation, file: str, mistakes: int) -> str:
    """What was found about a mistake, in plain words."""
    label, said = explanation.label_name, explanation.predicted_name
    answer = f"{file} is labelled {label}; the CNN says {said} ({explanation.confidence:.1%})"
    rank = f"the surest of its {mistakes} mistakes" if mistakes else "right, but the least sure"
    lines = [f"The puzzle: {answer}, {rank}."]
    opponents = explanation.opponents
    if not opponents:
        return "\n".join([*lines, f"No training picture speaks against {label}."])
    counts = Counter(example.label_name for example in opponents).most_common()
    labelled = ", ".join(f"{count} {name}" for name, count in counts)
    return "\n".join(
        [
            *lines,
            f"The {len(opponents)} training pictures that speak most against {label}:",
            *listing(opponents),
            f"Their labels: {labelled}. The bright places of their maps are what the CNN learned "
            f"there and now uses against {label}.",
        ]
    )


def _read(folder: str) -> tuple[Pictures, Pictures]:
    """Training and test pictures, small, with the transform that normalises them."""
    root = data.training_root(folder)
    classes = data.find_classes(root)
    side = _side(data.open_folder(root, classes, PILToTensor()).samples)
    small = Compose([Resize(side, antialias=True), CenterCrop(side), PILToTensor()])
    train = read_pictures(
        data.open_folder(root, classes, small), "training pictures", show_progress=True
    )
    apart = [Path(folder).expanduser() / name for name in ("test", "val")]
    found = [path for path in apart if path.is_dir() and root.name == "train"]
    if found:
        test = read_pictures(
            data.open_folder(found[0], classes, small), "test pictures", show_progress=True
        )
    else:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
        held_out = max(1, round(_HELD_OUT * len(train)))
        train, test = train.part(sorted(order[held_out:])), train.part(sorted(order[:held_out]))
    train.transform = test.transform = train.normalised()
    return train, test


def _side(samples: Sequence[tuple[str, int]]) -> int:
    """The median of some pictures' shorter sides, kept within what the CNN is made for."""
    places = torch.linspace(0, len(samples) - 1, min(len(samples), _SIZES_LOOKED_AT)).long()
    sides = [min(data.load_image(samples[place][0]).size) for place in places.tolist()]
    return min(_LARGEST, max(_SMALLEST, sorted(sides)[len(sides) // 2]))


def _epochs(pictures: int) -> int:
    return min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, round(_PICTURES_TRAINED_ON / pictures)))

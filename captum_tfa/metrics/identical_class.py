"""Does a ranking name training images of the right class?

Two minimal requirements on a score, from [hanawa2021evaluation]. One function serves both, since
they differ in the labels only:

- **identical class:** the training image that says most for a prediction should be of the class
  that is predicted: ``labels`` are the predicted classes.
- **identical subclass:** a model that has only learned superclasses (animal, vehicle) tells the
  hidden classes in them apart if its most influential training image is of the test image's own
  hidden class (dog, ship): ``train_labels`` and ``labels`` are the hidden classes.

Gradients of the last layer alone may pass the first test: they depend on the label. The second
asks for more.
"""

from __future__ import annotations

import torch
from torch import Tensor


def share_of_same_class(scores: Tensor, train_labels: Tensor, labels: Tensor, k: int = 1) -> Tensor:
    """The share of each test image's k most influential training images that have its label.

    Where training images tie for the last places, each counts for the same part of a place. Equal
    scores for all therefore give the share of the label in the training set: chance level.

    Args:
        scores: Influence of each training image on each test image, ``[Q, N]``, as
            `ScoreInfluence` gives it.
        train_labels: Label of each training image, ``[N]``, integers.
        labels: Label of each test image, ``[Q]``, integers.
        k: How many of the highest scores count, 1 to N. Default 1: the share is then 0 or 1, and
            its mean is the test's success rate in the paper.

    Returns:
        ``[Q]``, float64, in [0, 1].

    Raises:
        ValueError: Shapes that do not fit each other, labels that are not integers, ``k`` out of
            range, or scores that are not finite.
    """
    _check(scores, train_labels, labels, k)
    values = scores.double()
    same = train_labels.to(scores.device) == labels.to(scores.device).unsqueeze(1)  # [Q, N]
    last = values.topk(k, dim=1).values[:, -1:]  # the score that is last to enter the top
    above, tied = values > last, values == last
    part = (k - above.sum(1)).double() / tied.sum(1)  # of a place, for each tied training image
    return ((above & same).sum(1) + part * (tied & same).sum(1)) / k


def _check(scores: Tensor, train_labels: Tensor, labels: Tensor, k: int) -> None:
    if scores.dim() != 2 or list(scores.shape) != [labels.numel(), train_labels.numel()]:
        raise ValueError(
            f"scores has the shape {list(scores.shape)} for {labels.numel()} test labels and "
            f"{train_labels.numel()} training labels; it must be [test images, training images]"
        )
    for name, given in (("train_labels", train_labels), ("labels", labels)):
        if given.dim() != 1 or given.is_floating_point() or given.is_complex():
            raise ValueError(
                f"{name} is {given.dtype} of the shape {list(given.shape)}; it must be integers, "
                "one an image: for probabilities take .argmax(dim=1)"
            )
    if not 1 <= k <= scores.shape[1]:
        raise ValueError(f"k is {k}; it must lie in 1 to {scores.shape[1]}, the training images")
    if not torch.isfinite(scores).all():
        raise ValueError("scores holds NaN or infinity; training images cannot be ranked by that")

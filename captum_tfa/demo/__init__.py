"""A small job with a known answer: pictures with a planted shortcut, a CNN, its training."""

from captum_tfa.demo.pictures import Pictures, read_pictures
from captum_tfa.demo.shapes import ShapesDataset, make_shapes
from captum_tfa.demo.small_cnn import SmallCNN
from captum_tfa.demo.train import fit, predict, train_classifier

__all__ = [
    "Pictures",
    "ShapesDataset",
    "SmallCNN",
    "fit",
    "make_shapes",
    "predict",
    "read_pictures",
    "train_classifier",
]

"""Numbers that say whether maps and rankings are right: one function for each question.

What goes into them, and what comes out, lies in the modules that bear the questions' names: trivial
maps in `captum_tfa.metrics.controls`, masks in `captum_tfa.metrics.masking`, and so on.
"""

from captum_tfa.metrics.attribute_recall import attribute_recall
from captum_tfa.metrics.clean_score import clean_score
from captum_tfa.metrics.convergence import noise_grid
from captum_tfa.metrics.counterfactual_regions import counterfactual_regions
from captum_tfa.metrics.datamodelling import linear_datamodelling_score
from captum_tfa.metrics.error_correction import error_correction, most_opposed
from captum_tfa.metrics.identical_class import share_of_same_class
from captum_tfa.metrics.leaving_out import leaving_out
from captum_tfa.metrics.localisation import (
    positive_mass,
    saliency,
    share_of_positive_inside,
    share_of_top_inside,
)
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.measured_output import MeasuredOutput
from captum_tfa.metrics.mislabels import mislabel_detection
from captum_tfa.metrics.mosaics import grid_pointing_game
from captum_tfa.metrics.perturbation import deletion_test, insertion_test
from captum_tfa.metrics.randomisation import parameter_randomisation
from captum_tfa.metrics.segmentation import segmentation_overlap
from captum_tfa.metrics.shortcuts import patch_attribution
from captum_tfa.metrics.similarity import compare_maps
from captum_tfa.metrics.subsets import retrain_subsets
from captum_tfa.metrics.tail_patch import tail_patch
from captum_tfa.metrics.two_cues import cue_auc, plant_twins, plant_two_cues, read_cues

__all__ = [
    "MeasuredOutput",
    "attribute_recall",
    "clean_score",
    "compare_maps",
    "counterfactual_regions",
    "cue_auc",
    "deletion_test",
    "error_correction",
    "grid_pointing_game",
    "insertion_test",
    "leaving_out",
    "linear_datamodelling_score",
    "mean_colour",
    "mislabel_detection",
    "most_opposed",
    "noise_grid",
    "parameter_randomisation",
    "patch_attribution",
    "plant_twins",
    "plant_two_cues",
    "positive_mass",
    "read_cues",
    "retrain_subsets",
    "saliency",
    "segmentation_overlap",
    "share_of_positive_inside",
    "share_of_same_class",
    "share_of_top_inside",
    "tail_patch",
]

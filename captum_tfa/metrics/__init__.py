"""Numbers that say whether maps and rankings are right."""

from captum_tfa.metrics.clean_score import clean_score, clean_score_chance, sharpened
from captum_tfa.metrics.controls import (
    centre_weighted,
    contiguous_random,
    own_label_grad_cam,
    own_label_gradient,
    random_saliency,
)
from captum_tfa.metrics.convergence import NoiseGrid, noise_grid
from captum_tfa.metrics.counterfactual_regions import (
    CounterfactualRegions,
    counterfactual_regions,
    read_counterfactual_regions,
)
from captum_tfa.metrics.datamodelling import (
    LinearDatamodellingScore,
    linear_datamodelling_score,
)
from captum_tfa.metrics.error_correction import (
    Blanked,
    Comparison,
    Correction,
    Opponents,
    as_many_at_random,
    compare,
    correction,
    error_correction,
    most_opposed,
    precision,
    right_answers,
    without,
)
from captum_tfa.metrics.fresh_start import Train
from captum_tfa.metrics.identical_class import share_of_same_class
from captum_tfa.metrics.intervals import Interval, jackknife_interval, normal_interval
from captum_tfa.metrics.leaving_out import LeavingOut, leaving_out
from captum_tfa.metrics.localisation import (
    positive_mass,
    saliency,
    share_of_positive_inside,
    share_of_top_inside,
)
from captum_tfa.metrics.masked_influence import MaskedInfluence, masked_influence
from captum_tfa.metrics.masking import masked, mean_colour, top_mask
from captum_tfa.metrics.measured_output import MeasuredOutput
from captum_tfa.metrics.mislabels import MislabelDetection, mislabel_detection
from captum_tfa.metrics.mosaics import Mosaics, PointingGame, grid_pointing_game, make_mosaics
from captum_tfa.metrics.paired import PairedDifference, paired_difference
from captum_tfa.metrics.perturbation import (
    PerturbationTest,
    area,
    deletion_test,
    insertion_test,
)
from captum_tfa.metrics.randomisation import PermutedLabels, parameter_randomisation
from captum_tfa.metrics.retraining import Change, Measure, retrain_each
from captum_tfa.metrics.segmentation import (
    VOC_CLASSES,
    SegmentationOverlap,
    object_mask,
    segmentation_overlap,
    shown_classes,
    voc_segmentation,
    void_mask,
)
from captum_tfa.metrics.sgd_step import loss_changes
from captum_tfa.metrics.shortcuts import (
    PatchAttribution,
    corner_square,
    paint,
    patch_attribution,
    some_of_class,
)
from captum_tfa.metrics.similarity import MapSimilarity, compare_maps, spearman, ssim
from captum_tfa.metrics.subsets import (
    Retrained,
    left_out,
    random_subsets,
    read_retrained,
    retrain_subsets,
)
from captum_tfa.metrics.tail_patch import TailPatch, tail_patch
from captum_tfa.metrics.two_cues import (
    CueReading,
    TwoCues,
    cue_auc,
    plant_twins,
    plant_two_cues,
    read_cues,
)

__all__ = [
    "VOC_CLASSES",
    "Blanked",
    "Change",
    "Comparison",
    "Correction",
    "CounterfactualRegions",
    "CueReading",
    "Interval",
    "LeavingOut",
    "LinearDatamodellingScore",
    "MapSimilarity",
    "MaskedInfluence",
    "Measure",
    "MeasuredOutput",
    "MislabelDetection",
    "Mosaics",
    "NoiseGrid",
    "Opponents",
    "PairedDifference",
    "PatchAttribution",
    "PermutedLabels",
    "PerturbationTest",
    "PointingGame",
    "Retrained",
    "SegmentationOverlap",
    "TailPatch",
    "Train",
    "TwoCues",
    "area",
    "as_many_at_random",
    "centre_weighted",
    "clean_score",
    "clean_score_chance",
    "compare",
    "compare_maps",
    "contiguous_random",
    "corner_square",
    "correction",
    "counterfactual_regions",
    "cue_auc",
    "deletion_test",
    "error_correction",
    "grid_pointing_game",
    "insertion_test",
    "jackknife_interval",
    "leaving_out",
    "left_out",
    "linear_datamodelling_score",
    "loss_changes",
    "make_mosaics",
    "masked",
    "masked_influence",
    "mean_colour",
    "mislabel_detection",
    "most_opposed",
    "noise_grid",
    "normal_interval",
    "object_mask",
    "own_label_grad_cam",
    "own_label_gradient",
    "paint",
    "paired_difference",
    "parameter_randomisation",
    "patch_attribution",
    "plant_twins",
    "plant_two_cues",
    "positive_mass",
    "precision",
    "random_saliency",
    "random_subsets",
    "read_counterfactual_regions",
    "read_cues",
    "read_retrained",
    "retrain_each",
    "retrain_subsets",
    "right_answers",
    "saliency",
    "segmentation_overlap",
    "share_of_positive_inside",
    "share_of_same_class",
    "share_of_top_inside",
    "sharpened",
    "shown_classes",
    "some_of_class",
    "spearman",
    "ssim",
    "tail_patch",
    "top_mask",
    "voc_segmentation",
    "void_mask",
    "without",
]

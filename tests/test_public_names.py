from __future__ import annotations

import subprocess
import sys

import pytest

import captum_tfa


def test_every_public_name_is_there_and_is_listed() -> None:
    for name in captum_tfa.__all__:
        assert getattr(captum_tfa, name) is not None
    assert set(captum_tfa.__all__) <= set(dir(captum_tfa))


def test_a_public_name_is_the_one_of_its_folder() -> None:
    from captum_tfa import report, scores

    assert captum_tfa.explain is report.explain
    assert captum_tfa.GradCosScore is scores.GradCosScore


def test_a_name_that_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'captum_tfa' has no attribute 'explane'"):
        captum_tfa.explane  # noqa: B018


def test_star_import_in_a_fresh_process_gives_every_name() -> None:
    code = "from captum_tfa import *\nprint(explain.__name__, TrainingGradCos.__name__)"
    assert _printed(code) == ["explain", "TrainingGradCos"]


def test_folders_need_no_import_of_their_own() -> None:
    assert _printed("import captum_tfa\nprint(captum_tfa.metrics.saliency.__name__)") == [
        "saliency"
    ]


def test_metrics_are_few_and_what_feeds_them_lies_in_their_modules() -> None:
    from captum_tfa import metrics
    from captum_tfa.metrics import controls, masking

    assert len(metrics.__all__) == len(set(metrics.__all__)) <= 30
    for name in metrics.__all__:
        assert getattr(metrics, name) is not None
    vague = {"area", "compare", "correction", "paint", "precision", "without", "masked", "Train"}
    assert not vague & set(dir(metrics))
    assert metrics.mean_colour is masking.mean_colour
    assert controls.random_saliency.__module__ == "captum_tfa.metrics.controls"


def _printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()

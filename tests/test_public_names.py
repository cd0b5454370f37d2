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


def _printed(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()

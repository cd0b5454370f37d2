"""The API reference shows what a user calls, inherited or not, with its arguments."""

from __future__ import annotations

import html
import inspect
import re
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import captum_tfa

ROOT = Path(__file__).parents[2]
METHODS = {
    "maps": {
        "attribute": (
            *("TrainingGradient", "LayerTrainingGradient", "TrainingGradDot", "TrainingGradCos"),
            *("LayerTrainingGradDot", "LayerTrainingGradCos", "TrainingGradientXInput"),
            *("TrainingIntegratedGradients", "TrainingOcclusion"),
        )
    },
    "scores": {"forward": ("GradDotScore", "GradCosScore", "InfluenceScore")},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    config.plugins.run_event("startup", command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.run_event("shutdown")
    return folder


@pytest.mark.parametrize("page", METHODS)
def test_inherited_methods_are_shown_with_their_arguments(site: Path, page: str) -> None:
    text = (site / page / "index.html").read_text(encoding="utf-8")
    for method, owners in METHODS[page].items():
        for owner in owners:
            name = f"captum_tfa.{owner}.{method}"
            (shown,) = re.findall(rf'id="{re.escape(name)}".*?</table>', text, re.DOTALL)
            words = html.unescape(re.sub(r"<[^>]*>", " ", shown))
            arguments = inspect.signature(getattr(getattr(captum_tfa, owner), method)).parameters
            for argument in list(arguments)[1:]:
                assert argument in words, (name, argument)


def test_the_figure_and_the_reference_of_the_engine_are_on_its_page(site: Path) -> None:
    text = (site / "engine" / "index.html").read_text(encoding="utf-8")
    assert "engine.svg" in text
    assert (site / "images" / "engine.svg").exists()
    for name in ("gradients.records", "gradients.Rule", "gradients.ParameterUses.record"):
        assert f'id="captum_tfa.{name}"' in text

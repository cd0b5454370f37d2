from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from captum_tfa.auditing.page import in_notebook, render
from captum_tfa.auditing.page_pictures import Pictures
from captum_tfa.auditing.result import Audit
from captum_tfa.report.heat import HEAT_COLOURS
from tests.auditing.small import small_audit
from tests.auditing.small_regions import regions_of

EVIL = "<script>document.title='run'</script>"


@pytest.fixture(scope="module")
def audit() -> Audit:
    return small_audit(class_names=["ant", EVIL, "cat"])


def striking(audit: Audit) -> Audit:
    """The same with a region that stands out."""
    evidence, regions = regions_of(8, [3, 4, 5], [-0.4, -0.5, -0.6], [[6.0, 6.0]] * 3, (5, 5, 3, 3))
    return replace(audit, evidence=evidence, regions=regions)


def test_what_a_user_gives_is_escaped(audit: Audit) -> None:
    named = replace(audit, train_files=dict.fromkeys(audit.train_files, f"{EVIL}.png"))
    page = render(named)
    assert EVIL not in page
    assert "&lt;script&gt;document.title=" in page


def test_nothing_is_asked_of_a_network_and_the_policy_names_script_and_style(audit: Audit) -> None:
    page = render(striking(audit))
    assert "http" not in page.replace("http-equiv", "")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    for kind in ("script", "style"):
        text = re.search(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert text is not None
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"{kind}-src &#39;sha256-{digest}&#39;" in policy[1]
    assert " style=" not in page  # the policy would not let it


def test_the_numbers_of_the_audit_are_told(audit: Audit) -> None:
    page = render(audit)
    assert f"<dd>{audit.all_mistakes}</dd>" in page
    assert f"<dd>{100 * audit.accuracy:.1f} %</dd>" in page
    for mistake in audit.mistakes:
        assert f"Test image {mistake.index}" in page
    for each in audit.suspected_labels:
        assert f"Training image {each.index}" in page
    assert page.count('class="mistake"') == 6


def test_where_nothing_stands_out_no_story_is_told(audit: Audit) -> None:
    evidence, regions = regions_of(
        8, [3, 4], [-0.4, -0.5], [[6.0, 6.0]] * 2, (5, 5, 3, 3), stands_out=False
    )
    page = render(replace(audit, evidence=evidence, regions=regions))
    assert "Nothing stands out. Beside each region below it is said what it lacks" in page
    assert "stands out</span>" not in page
    assert page.count('class="by-chance"') == 3
    assert "3, needed to stand out" in page
    loud = render(striking(audit))
    assert "Region 1: behind 100 % of the mistakes" in loud
    assert "Nothing stands out" not in loud


WEAK = "its strength is not more than is needed"
RARE = "it comes up less than 10 times as often as by chance"


@pytest.mark.parametrize(
    ("strength", "lift", "lacks"),
    [(9.0, 4.0, RARE), (3.0, 10.0, WEAK), (1.0, 4.0, f"{WEAK}; {RARE}")],
)
def test_each_cluster_says_which_condition_it_fails(
    audit: Audit, strength: float, lift: float, lacks: str
) -> None:
    evidence, regions = regions_of(
        8, [3, 4], [-0.4, -0.5], [[6.0, 6.0]] * 2, (5, 5, 3, 3), stands_out=False
    )
    cluster = replace(regions.clusters[0], strength=strength, lift=lift)
    regions = replace(regions, clusters=(cluster,))
    page = render(replace(audit, evidence=evidence, regions=regions))
    assert f'<span class="quiet">does not stand out: {lacks}</span>' in page
    assert "1 cluster that does not stand out</summary>" in page
    assert "stronger than" not in page


def test_where_no_map_says_anything_no_region_is_announced(audit: Audit) -> None:
    evidence, regions = regions_of(
        8, [3, 4], [-0.4, -0.5], [[6.0, 6.0]] * 2, (5, 5, 3, 3), stands_out=False
    )
    groups = torch.full_like(regions.groups, -1)
    page = render(
        replace(audit, evidence=evidence, regions=replace(regions, clusters=(), groups=groups))
    )
    assert '<p class="note">Nothing stands out.</p>' in page


def test_the_headline_is_the_finding_and_its_numbers_follow(audit: Audit) -> None:
    says = "One region stands out: it lies in 9 images. It has a strength of 4.5. Needed are 3.1."
    assert audit.regions is not None
    page = render(replace(audit, regions=replace(audit.regions, says=says)))
    assert "<h1>One region stands out: it lies in 9 images.</h1>" in page
    assert "<p>It has a strength of 4.5. Needed are 3.1.</p>" in page


def test_a_large_audit_leaves_out_what_comes_last(audit: Audit) -> None:
    whole = render(audit)
    cut = render(audit, most_bytes=20_000)
    assert len(cut) < len(whole)
    assert 'class="mistake"' not in cut
    assert f"{len(audit.mistakes)} are left out, so that this page stays below" in cut
    assert "left out, so that" not in whole


def test_heat_has_the_colours_of_the_figure(audit: Audit) -> None:
    pictures = Pictures(audit, 10**6)
    heat = torch.tensor([[0.0, 1.0], [3.0, 8.0]])
    text = pictures.heat(heat).removeprefix("data:image/png;base64,")
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    expected = HEAT_COLOURS((heat / 3 / pictures.top).clamp(0, 1).numpy(), bytes=True)
    expected[0, 0] = 0
    assert np.array_equal(pixels, expected)


def test_a_report_is_written_whole_and_a_notebook_shows_it_in_a_frame(
    audit: Audit, tmp_path: pytest.TempPathFactory
) -> None:
    file = audit.report(f"{tmp_path}/report.html")
    assert file.read_text(encoding="utf-8") == render(audit)
    shown = in_notebook(audit)
    assert shown.startswith("<iframe title=")
    assert 'sandbox="allow-scripts"' in shown
    assert audit._repr_html_() == shown


def test_an_audit_without_mistakes_has_a_page() -> None:
    from torch.utils.data import TensorDataset

    from tests.auditing.small import TESTS, said

    page = render(small_audit(tests=TensorDataset(TESTS.tensors[0], said()[0])))
    assert "The model makes no mistake on these 15 test images." in page
    assert "There is no mistake." in page

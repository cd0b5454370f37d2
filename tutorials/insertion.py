# %% [markdown]
# # Insertion: do maps find the pixels that matter?
#
# The quantitative experiment of the paper (bacha2025training, section 4.3). A small CNN learns
# CIFAR-10 without a held-out pool. For each of 100 test images take the five pool images of the
# highest grad-cos, and draw their maps. Keep only the top k % of a pool image's pixels, fill the
# rest with the mean colour, take one plain SGD step on it, and look at the loss of the test image:
# `ΔL = L_after − L_before`. The control keeps a random k %.
#
# **What the paper claims:** the top pixels lower the loss more than random pixels do,
# `Δ(T − R) < 0` with intervals clear of 0; less so as k grows; not at all at 100 %.
#
# **What is looked at beside it:** the median and the share of pairs won, since a few test images
# with a huge loss dominate a mean; intervals over test images, since the five pairs of one test
# image are not independent; smaller and larger steps; the score itself, which needs no step;
# deletion; and controls that are less naive than random pixels.

# %%
import time

import matplotlib.pyplot as plt
import torch

from captum_tfa import GradCosScore, SmoothGrad, TrainingGradCos, TrainingOcclusion
from captum_tfa.metrics.controls import (
    centre_weighted,
    contiguous_random,
    own_label_gradient,
    random_saliency,
)
from captum_tfa.metrics.localisation import saliency
from captum_tfa.metrics.masked_influence import MaskedInfluence, masked_influence
from captum_tfa.metrics.masking import mean_colour
from captum_tfa.metrics.paired import PairedDifference
from captum_tfa.metrics.perturbation import PerturbationTest
from common.networks import accuracy
from common.pairs import Pairs, prepared, stacked, strongest
from common.record import Interval, Record, interval
from common.remembering import remembered
from common.rivals import PAPER_METHOD, PAPER_SCORE, RIVAL_METHOD, RIVAL_SCORE, Maps, score_of_pairs
from common.settings import settings

run = settings(
    data="cifar10",
    out="results",
    cache="tutorials-cache",
    seed=0,
    epochs=10,
    pool_share=0.1,
    tests=100,
    per_test=5,
    samples=50,
    noise_level=0.1,
    fractions=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0),
    step_sizes=(1e-3, 1e-2, 1e-4),
    score=RIVAL_SCORE,  # beside grad-cos, and a map beside the paper's
    method=RIVAL_METHOD,
    fitted=2000,  # training images to which its curvature is fitted
)
page = Record("Insertion: do maps find the pixels that matter?", run.out, run)
train, pool, test, model = prepared(run)
colour = mean_colour(train, show_progress=True)

# %% [markdown]
# ## The pairs
#
# Random test images with their true labels, and the pool's strongest proponents.

# %%
generator = torch.Generator().manual_seed(run.seed)
chosen = torch.randperm(len(test), generator=generator)[: run.tests]
pairs = strongest(model, pool, *stacked(test, chosen), run.per_test)
page.say(
    f"A small CNN, trained on {len(train)} images of CIFAR-10 for {run.epochs} epochs (Adam in one "
    f"learning-rate cycle up to 4e-3, batches of 128), is right on {accuracy(model, test):.1%} of "
    f"the test images. {len(pairs.scores)} pairs: {run.tests} random test images with their "
    f"{run.per_test} strongest proponents among {len(pool)} held-out images; mean grad-cos "
    f"{float(pairs.scores.mean()):.2f}."
)

# %% [markdown]
# ## The maps and the controls
#
# The paper's saliency of a pixel is `sum_channels |M|`, where `M` is the SmoothGrad map. The same
# `M` times `x − mean colour`, summed over channels with its sign, says what the pixel *adds* to
# the score against a pixel of the mean colour, which is just what masking puts there. Occlusion
# asks the same of whole windows of 8 × 8 pixels, without a gradient; see the tutorial on the best
# map.


# %%
def smooth_gradients(pairs: Pairs) -> torch.Tensor:
    """``M`` of each pair, ``[P, C, H, W]``."""
    side = (pairs.test, pairs.test_labels)
    noise = (run.samples, run.noise_level, run.seed)
    return SmoothGrad(TrainingGradCos(model)).attribute(pairs.pool, pairs.pool_labels, side, *noise)


def occlusions(pairs: Pairs) -> torch.Tensor:
    """What the score loses when a window becomes the mean colour, ``[P, H, W]``."""
    start, side = colour.view(1, -1, 1, 1).expand_as(pairs.pool), (pairs.test, pairs.test_labels)
    method = TrainingOcclusion(GradCosScore(model))
    return method.attribute(pairs.pool, start, pairs.pool_labels, side)[:, 0]


def saliencies() -> dict[str, torch.Tensor]:
    """Every map and control by name, ``[P, H, W]``."""
    gradients = smooth_gradients(pairs)
    own = (run.samples, run.noise_level, run.seed)
    return {
        PAPER: saliency(gradients),
        SIGNED: (gradients * (pairs.pool - colour.view(-1, 1, 1))).sum(1),
        OCCLUSION: occlusions(pairs),
        "random": random_saliency(pairs.pool, run.seed),
        "contiguous random": contiguous_random(pairs.pool, run.seed),
        "centre": centre_weighted(pairs.pool),
        "own label": own_label_gradient(model, pairs.pool, pairs.pool_labels, *own),
    }


PAPER, SIGNED = "|SmoothGrad| (paper)", "SmoothGrad × (x − mean)"
OCCLUSION = "occlusion 8×8"
MAPS = (PAPER, SIGNED, OCCLUSION)

# %% [markdown]
# ## Mask, step, measure
#
# `masked_influence` measures one saliency; any two of its results make a paired test.

# %%
first = run.step_sizes[0]
EXPERIMENTS = [  # what chooses, whether it is removed, the step
    *(
        (name, False, first)
        for name in (*MAPS, "random", "contiguous random", "centre", "own label")
    ),
    *((name, False, step) for step in run.step_sizes[1:] for name in (*MAPS, "random")),
    *((name, True, first) for name in (*MAPS, "random", "own label")),
]


def measure() -> dict:
    """Loss changes and scores ``[F][P]`` of each experiment, and the scores of whole images."""
    began = time.monotonic()
    chosen_by = saliencies()
    found: dict = {}
    for name, remove, step in EXPERIMENTS:
        left = masked_influence(
            model,
            *pairs[:4],
            chosen_by[name],
            colour,
            remove=remove,
            fractions=run.fractions,
            step_size=step,
            seed=run.seed,
            show_progress=True,
        )
        found[f"{name} {remove} {step:g}"] = {
            "losses": left.loss_changes.tolist(),
            "scores": left.scores.tolist(),
            "whole": left.whole_scores.tolist(),
        }
    found["minutes"] = (time.monotonic() - began) / 60
    return found


asked = {key: value for key, value in vars(run).items() if key not in ("out", "cache")}
found = remembered(f"{run.cache}/insertion-{run.seed}-{run.tests}.json", asked, measure)
page.say(f"Maps and measurements took {found['minutes']:.0f} minutes when they were made.")


def left(name: str, remove: bool = False, step: float = first) -> MaskedInfluence:
    """What is left of the influence when this saliency chooses."""
    numbers = {key: torch.tensor(v) for key, v in found[f"{name} {remove} {step:g}"].items()}
    return MaskedInfluence(
        run.fractions, remove, numbers["losses"], numbers["scores"], numbers["whole"]
    )


def versus(name: str, control: str, remove: bool = False, step: float = first) -> PerturbationTest:
    """A map against a control."""
    return PerturbationTest(left(name, remove, step), left(control, remove, step))


# %% [markdown]
# ## The paper's table
#
# `Δ(T − R)`: the mean over pairs with its 95 % normal interval, as the paper has it. Beside it the
# interval over test images, the median, and the share of pairs in which the map's step was the
# more helpful one.


# %%
def image_interval(test_of: PerturbationTest, index: int) -> Interval:
    """The mean gap with its interval over test images, × 1000."""
    gaps = test_of.of_map.loss_changes[index] - test_of.of_control.loss_changes[index]
    return interval(1e3 * gaps.view(-1, run.per_test).mean(1))


def in_thousandths(gap: PairedDifference) -> str:
    return f"{1e3 * gap.mean:.3g} [{1e3 * gap.low:.3g}, {1e3 * gap.high:.3g}]"


def rows_of(test_of: PerturbationTest) -> list[list[str]]:
    """One row for each k: mean, both intervals, median, share won."""
    gaps = [test_of.loss_gap(index) for index in range(len(run.fractions))]
    return [
        [
            f"{100 * fraction:.0f}",
            in_thousandths(gap),
            image_interval(test_of, index),
            f"{1e3 * gap.median:.3g}",
            f"{gap.won:.0%}",
        ]
        for index, (fraction, gap) in enumerate(zip(run.fractions, gaps, strict=True))
    ]


HEADER = ["k (%)", "Δ(T − R) × 1000", "interval over test images", "median × 1000", "pairs won"]
page.say(f"## The paper's table\n\nAgainst random pixels, at step {first:g}.")
for name in MAPS:
    page.say(f"### {name}")
    page.table(HEADER, rows_of(versus(name, "random")))


# %%
def clear_at(gaps: list) -> str:
    """In words, where intervals leave 0 out."""
    percents = [f"{100 * fraction:.0f}" for fraction in run.fractions]
    below = [k for k, gap in zip(percents, gaps, strict=True) if gap.high < 0]
    above = [k for k, gap in zip(percents, gaps, strict=True) if gap.low > 0]
    return (
        f"below 0 at k = {', '.join(below) or 'none'}; above 0 at k = {', '.join(above) or 'none'}"
    )


page.say("### Does the claim hold?\n\nWhere the 95 % interval is clear of 0, at each step:")
page.table(
    ["map", "step", "over pairs, as the paper has it", "over test images"],
    [
        [
            name,
            f"{step:g}",
            clear_at([of.loss_gap(index) for index in range(len(run.fractions))]),
            clear_at([image_interval(of, index) for index in range(len(run.fractions))]),
        ]
        for name in MAPS
        for step in run.step_sizes
        for of in [versus(name, "random", step=step)]
    ],
)


# %%
def side_by_side(columns: dict[str, PerturbationTest]) -> None:
    """A table of the gaps with their intervals, and the pairs won, one column a test."""
    page.table(
        ["k (%)", *columns],
        [
            [
                f"{100 * fraction:.0f}",
                *(
                    f"{in_thousandths(gap)}, {gap.won:.0%}"
                    for gap in (one.loss_gap(index) for one in columns.values())
                ),
            ]
            for index, fraction in enumerate(run.fractions)
        ],
    )


page.say("## Other steps\n\nMean gap × 1000 with its 95 % interval over pairs; pairs won.")
for step in run.step_sizes[1:]:
    page.say(f"### Step {step:g}")
    side_by_side({name: versus(name, "random", step=step) for name in MAPS})

# %% [markdown]
# ## Controls that are less naive
#
# One contiguous blob, the middle of the image, and ordinary SmoothGrad saliency of the pool
# image's own label, which has never seen the test image.

# %%
page.say(f"## Against other controls\n\nAs above, step {first:g}.")
for name in MAPS:
    others = ["contiguous random", "centre", "own label", *(m for m in MAPS if m != name)]
    side_by_side({f"{name} − {other}": versus(name, other) for other in others})

# %% [markdown]
# ## Deletion, and the score itself
#
# Removing what matters should leave a step that helps less (gap above 0), and a lower score.

# %%
page.say(
    f"## Deletion: the top k % removed, against random pixels\n\nStep {first:g}; good is above 0."
)
side_by_side({name: versus(name, "random", remove=True) for name in MAPS})

for remove, word in ((False, "kept"), (True, "removed")):
    names = [name for name, removed, step in EXPERIMENTS if removed == remove and step == first]
    page.say(f"## The score when the top k % is {word}\n\nMean grad-cos; no step is taken.")
    page.table(
        ["k (%)", *names],
        [
            [f"{100 * f:.0f}", *(f"{float(left(n, remove).scores[i].mean()):.3f}" for n in names)]
            for i, f in enumerate(run.fractions)
        ],
    )

page.say("## Areas under the curves\n\nGap of the mean heights against random pixels.")
page.table(
    ["map", "experiment", "loss × 1000", "loss: median, won", "score", "score: won"],
    [
        [
            name,
            "deletion" if remove else "insertion",
            in_thousandths(loss := versus(name, "random", remove).loss_area()),
            f"{1e3 * loss.median:.3g}, {loss.won:.0%}",
            f"{(score := versus(name, 'random', remove).score_area()).mean:.3f} "
            f"[{score.low:.3f}, {score.high:.3f}]",
            f"{score.won:.0%}",
        ]
        for name in MAPS
        for remove in (False, True)
    ],
)

# %% [markdown]
# ## When is a step small?
#
# The score speaks of a step that is small enough for a straight line. An image with a score above
# 0 should then never raise the test loss. Where it does, the step went too far, which an image of
# a large gradient does first: masked images are such images.


# %%
def too_far(name: str, step: float, index: int) -> str:
    """Of the masked images with a score above 0, the share whose step raises the test loss."""
    after = left(name, step=step)
    return f"{float((after.loss_changes[index][after.scores[index] > 0] > 0).float().mean()):.0%}"


page.say(
    "## When is a step small?\n\nOf the masked images whose score is above 0, the share whose step "
    "raises the test loss all the same: the step was too far for the score to speak of it."
)
page.table(
    ["k (%)", *(f"{name}, step {step:g}" for step in run.step_sizes for name in (*MAPS, "random"))],
    [
        [
            f"{100 * fraction:.0f}",
            *(too_far(name, step, index) for step in run.step_sizes for name in (*MAPS, "random")),
        ]
        for index, fraction in enumerate(run.fractions)
    ],
)
by_step = "; ".join(
    f"at step {step:g}: "
    + (", ".join(n for n in MAPS if versus(n, "random", step=step).loss_area().high < 0) or "none")
    for step in run.step_sizes
)
by_score = ", ".join(n for n in MAPS if versus(n, "random").score_area().low > 0) or "none"
page.say(
    "## In short\n\nAhead of random pixels at insertion, by the area under the curve with a 95 % "
    f"interval over pairs clear of 0. By the loss, {by_step}. By the score, without a step: "
    f"{by_score}."
)

# %%
fig, axes = plt.subplots(1, 2 + len(run.step_sizes), figsize=(4 * (2 + len(run.step_sizes)), 3.6))
percent = [100 * fraction for fraction in run.fractions]
colours = {
    name: f"C{place}" for place, name in enumerate(dict.fromkeys(n for n, _, _ in EXPERIMENTS))
}
for axis, step in zip(axes, run.step_sizes, strict=False):
    for name in MAPS:
        gaps = [versus(name, "random", step=step).loss_gap(i) for i in range(len(percent))]
        axis.plot(percent, [1e3 * gap.mean for gap in gaps], label=name)
        axis.fill_between(
            percent, [1e3 * gap.low for gap in gaps], [1e3 * gap.high for gap in gaps], alpha=0.2
        )
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set_title(f"loss: Δ(T − R) × 1000, step {step:g}")
    axis.set_xlabel("% kept")
for axis, remove in zip(axes[-2:], (False, True), strict=True):
    for name, removed, step in EXPERIMENTS:
        if removed == remove and step == first:
            curve = left(name, remove).scores.mean(1)
            style = "-" if name in MAPS else ":"
            axis.plot(percent, curve, style, color=colours[name], label=name)
    axis.set_title("score, deletion" if remove else "score, insertion")
    axis.set_xlabel("% removed" if remove else "% kept")
handles, names = axes[-2].get_legend_handles_labels()
fig.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0), ncol=len(names))
fig.tight_layout()
page.figure(fig, "curves", "Loss gaps with 95 % intervals over pairs, and mean scores.")

# %% [markdown]
# ## Another score, another map
#
# The same test images with the strongest proponents by a second score (`--score`), the cosine with
# curvature; a second map (`--method`) beside the paper's, for both scores. The loss after a step
# knows nothing of the score, so it can compare them.


# %%
def rival_measure() -> dict:
    """Loss changes and scores of both maps and of random pixels, for both scores."""
    numbers: dict = {}
    for of in (PAPER_SCORE, run.score):
        score = score_of_pairs(of, model, train, run)
        own = strongest(model, pool, *stacked(test, chosen), run.per_test, score=score)
        sides = ((own.pool, own.pool_labels), (own.test, own.test_labels))
        chosen_by = {"random": random_saliency(own.pool, run.seed)}
        for method in (PAPER_METHOD, run.method):
            maps = Maps(method, colour, run.samples, run.noise_level, run.seed)
            chosen_by[method] = maps.heat(score, *sides)
        for name, saliency_of in chosen_by.items():
            for step in run.step_sizes:
                after = masked_influence(
                    model,
                    *own[:4],
                    saliency_of,
                    colour,
                    fractions=run.fractions,
                    step_size=step,
                    seed=run.seed,
                    score=score,
                )
                numbers[f"{of} {name} {step:g}"] = {
                    "losses": after.loss_changes.tolist(),
                    "scores": after.scores.tolist(),
                    "whole": after.whole_scores.tolist(),
                }
            print(of, name, flush=True)
    return numbers


rivals = remembered(
    f"{run.cache}/insertion-rivals-{run.seed}-{run.tests}.json", asked, rival_measure
)


def against_random(of: str, method: str, step: float) -> PerturbationTest:
    """A map of a score against random pixels of the same pairs."""
    both = [rivals[f"{of} {name} {step:g}"] for name in (method, "random")]
    sides = [{key: torch.tensor(values) for key, values in one.items()} for one in both]
    return PerturbationTest(
        *(
            MaskedInfluence(run.fractions, False, one["losses"], one["scores"], one["whole"])
            for one in sides
        )
    )


TWO_BY_TWO = [(of, m) for of in (PAPER_SCORE, run.score) for m in (PAPER_METHOD, run.method)]
page.say(
    f"## Another score, another map\n\n`{run.score}` (the cosine with curvature: EK-FAC, fitted to "
    f"{min(run.fitted, len(train))} training images) beside grad-cos, each with its own strongest "
    f"proponents of the same test images; `{run.method}` beside the paper's map. Against random "
    "pixels, the area under the curve: mean loss gap × 1000 (good is below 0) with its 95 % "
    "interval over pairs, and pairs won; then the same of the score, in parts of its mean for "
    "whole images (good is above 0)."
)
page.table(
    ["score", "map", *(f"loss, step {step:g}" for step in run.step_sizes), "score that is left"],
    [
        [
            of,
            method,
            *(
                f"{in_thousandths(gap)}, {gap.won:.0%}"
                for step in run.step_sizes
                for gap in [against_random(of, method, step).loss_area()]
            ),
            f"{gap.mean / scale:.3f} [{gap.low / scale:.3f}, {gap.high / scale:.3f}], "
            f"{gap.won:.0%}",
        ]
        for of, method in TWO_BY_TWO
        for gap in [against_random(of, method, first).score_area()]
        for scale in [float(against_random(of, method, first).of_map.whole_scores.abs().mean())]
    ],
)
page.table(
    ["score", "map", "step", "clear of 0, over pairs"],
    [
        [
            of,
            method,
            f"{step:g}",
            clear_at([test_of.loss_gap(index) for index in range(len(run.fractions))]),
        ]
        for of, method in TWO_BY_TWO
        for step in run.step_sizes
        for test_of in [against_random(of, method, step)]
    ],
)
page.save()

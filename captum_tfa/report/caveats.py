"""What a reader of an explanation must bear in mind, a sentence each, where it matters.

The reasons stand in the documentation, on the page of limits.
"""

from __future__ import annotations

from captum_tfa.report.explanation import Explanation

_BY_METHOD = {
    "gradient": "A gradient says what a small change of a place would do to the score, not what "
    "the place contributes, and its values do not add up to the score.",
    "gradient_x_input": "Contributions by the gradient do not add up to the score.",
    "integrated_gradients": "Contributions do not add up to the score of the image, not even with "
    "integrated gradients.",
    "integrated_gradients_norm_held": "These contributions are to the product of the two gradients "
    "with their norms held, not to the score itself.",
    "occlusion": "Occlusion is coarse, and an image with a hole is not like those that the model "
    "knows.",
}


def of_scores(explanation: Explanation) -> list[str]:
    """About the scores, and so about which images are shown."""
    score = str(explanation.settings.get("score") or "")
    said = [
        "A score says what one more small step on a training image would do to the finished model, "
        "not what training without that image would have given.",
        "An image that the model fits perfectly has no gradient any more, so it is in neither "
        "list, whatever part it once played.",
    ]
    if "influence" not in score:
        said.append(
            "What all images of a class share rules a gradient, and so a ranking without curvature."
        )
    if score == "grad-dot":
        said.append("Grad-dot scores of different test images cannot be compared.")
    if explanation.settings.get("index") is not None:
        said.append(
            "The images were found by the estimates of an index, so one that belongs here may be "
            "missing, but the scores that are shown are exact."
        )
    return said


def of_maps(explanation: Explanation) -> list[str]:
    """About the maps."""
    said = []
    for method in (explanation.method, *explanation.more_methods):
        said.append(_BY_METHOD[method.name])
    noisy = {"gradient", "gradient_x_input"} & {
        method.name for method in (explanation.method, *explanation.more_methods)
    }
    if noisy:
        said.append("The noise that smooths a map is part of what it says.")
    model = str(explanation.settings.get("model") or "").lower()
    if any(word in model for word in ("vit", "visiontransformer", "deit", "swin")):
        said.append("Vision transformers show the grid of their patches in a map of pixels.")
    said.append("A map can look right and not be: it is a hint where to look, not a proof.")
    return said

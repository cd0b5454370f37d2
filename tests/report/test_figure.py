from __future__ import annotations

import io

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from captum_tfa.report.figure import MOST_COLUMNS, relative_saliency
from tests.report.tiny import explanation, training_example


def heat_maps(figure: Figure) -> list[AxesImage]:
    images = [image for axes in figure.get_axes() for image in axes.get_images()]
    return [image for image in images if image.get_cmap().name == "captum_tfa_heat"]


def texts(figure: Figure) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))  # type: ignore[attr-defined]


def drawn(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=40)
    return file.getvalue()


def test_every_map_is_drawn_on_one_scale() -> None:
    given = explanation()
    maps = heat_maps(given.plot())
    examples = [*given.proponents, *given.opponents]
    assert len(maps) == len(examples)
    for image, example in zip(maps, examples, strict=True):
        shown = torch.as_tensor(image.get_array())
        assert torch.allclose(shown, relative_saliency(example.map))
    assert len({(image.norm.vmin, image.norm.vmax) for image in maps}) == 1
    assert maps[0].norm.vmin == 0


def test_a_map_is_shown_in_multiples_of_its_mean() -> None:
    map = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[0.0, -2.0], [3.0, 0.0]]])
    assert relative_saliency(map).tolist() == [[0.5, 2.0], [1.5, 0.0]]
    assert relative_saliency(0 * map).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_one_strong_map_does_not_turn_the_others_black() -> None:
    weak = [training_example(i, 0.5) for i in range(4)]
    strong = training_example(9, 0.6, map=1000 * torch.randn(3, 8, 8))
    for image in heat_maps(explanation(proponents=(strong, *weak), opponents=()).plot()):
        top = image.norm.vmax
        assert top is not None
        assert float(torch.as_tensor(image.get_array()).max()) > 0.5 * top


def test_the_figure_tells_prediction_label_scores_and_places() -> None:
    told = texts(explanation().plot())
    for word in ("bee (87.5%)", "ant", "why not “ant”?", "+0.500", "−0.700", "#4", "Opponents"):
        assert word in told


def test_the_question_is_why_if_the_label_is_the_prediction() -> None:
    same = explanation(label=1, label_name="bee", label_given=False)
    assert "why “bee”?" in texts(same.plot())


@pytest.mark.parametrize(
    ("proponents", "opponents"), [(0, 2), (2, 0), (0, 0), (1, 1), (MOST_COLUMNS + 3, 1)]
)
def test_any_number_of_images_can_be_drawn(proponents: int, opponents: int) -> None:
    figure = explanation(
        proponents=tuple(training_example(i, 0.5) for i in range(proponents)),
        opponents=tuple(training_example(i, -0.5) for i in range(opponents)),
    ).plot()
    assert drawn(figure)
    shown = min(proponents, MOST_COLUMNS) + opponents
    assert len(heat_maps(figure)) == shown
    assert ("the first" in texts(figure)) == (proponents > MOST_COLUMNS)
    assert ("No training image has such a score" in texts(figure)) == (0 in (proponents, opponents))


def test_maps_of_zeros_can_be_drawn() -> None:
    nothing = training_example(1, 0.1, map=torch.zeros(3, 8, 8))
    assert drawn(explanation(proponents=(nothing,), opponents=(nothing,)).plot())


def test_grey_pictures_layer_maps_and_many_channels_can_be_drawn() -> None:
    for channels in (1, 2, 5):
        picture = torch.rand(channels, 8, 8)
        example = training_example(1, 0.1, map=torch.randn(1, 8, 8))
        object.__setattr__(example, "image", picture)
        given = explanation(test_image=picture, proponents=(example,), settings={"layer": "layer4"})
        assert drawn(given.plot())


def test_names_with_dollars_and_long_names_can_be_drawn() -> None:
    given = explanation(label_name="$\\frac{oops", predicted_name="x" * 200)
    figure = given.plot()
    assert drawn(figure)
    assert "x" * 40 not in texts(figure)


def test_plotting_touches_neither_backend_nor_pyplot() -> None:
    import matplotlib.pyplot as plt

    backend, open_figures = matplotlib.get_backend(), plt.get_fignums()
    given = explanation()
    drawn(given.plot())
    assert matplotlib.get_backend() == backend
    assert plt.get_fignums() == open_figures


def test_plotting_leaves_the_explanation_as_it_is() -> None:
    given = explanation()
    before = [example.map.clone() for example in given.opponents]
    assert drawn(given.plot()) == drawn(given.plot())
    assert all(torch.equal(b, e.map) for b, e in zip(before, given.opponents, strict=True))

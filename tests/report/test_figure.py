from __future__ import annotations

import io

import matplotlib
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from captum_tfa.report.figure import MOST_COLUMNS, heats
from captum_tfa.report.methods import METHODS, Method
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


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_training_image_has_its_map_and_the_test_images_on_one_scale(method: Method) -> None:
    given = explanation(method=method)
    maps = heat_maps(given.plot())
    expected = [heat for e in (*given.proponents, *given.opponents) for heat in heats(given, e)]
    assert len(maps) == len(expected) == 10
    for image, heat in zip(maps, expected, strict=True):
        assert torch.allclose(torch.as_tensor(image.get_array()), heat)
    assert len({(image.norm.vmin, image.norm.vmax) for image in maps}) == 1
    assert maps[0].norm.vmin == 0


def test_a_heat_map_lies_over_the_image_that_it_belongs_to() -> None:
    given = explanation(opponents=())
    figure = given.plot()
    below = {
        id(heat): next(i for i in axes.get_images() if i is not heat)
        for axes in figure.get_axes()
        for heat in axes.get_images()
        if heat in heat_maps(figure)
    }
    pictures = [torch.as_tensor(below[id(heat)].get_array()) for heat in heat_maps(figure)]
    for example, of_train, of_test in zip(
        given.proponents, pictures[::2], pictures[1::2], strict=True
    ):
        assert torch.allclose(of_train, 0.12 + 0.5 * example.image.mean(dim=0))
        assert torch.allclose(of_test, 0.12 + 0.5 * given.test_image.mean(dim=0))


def test_heat_is_in_multiples_of_its_mean() -> None:
    map = torch.tensor([[[1.0, 2.0], [0.0, 0.0]], [[0.0, -2.0], [3.0, 0.0]]])
    both = heats(explanation(), training_example(1, 0.5, map))
    assert [heat.tolist() for heat in both] == [[[0.5, 2.0], [1.5, 0.0]]] * 2
    nothing = heats(explanation(), training_example(1, 0.5, 0 * map))[0]
    assert nothing.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_heat_of_a_signed_map_is_the_part_that_has_the_scores_sign() -> None:
    map = torch.tensor([[[1.0, -2.0]], [[2.0, -4.0]]])
    given = explanation(method=METHODS["occlusion"])
    proponent, opponent = (training_example(1, score, map) for score in (0.5, -0.5))
    assert heats(given, proponent)[0].tolist() == [[2.0, 0.0]]
    assert heats(given, opponent)[0].tolist() == [[0.0, 2.0]]
    assert heats(given, proponent)[1].tolist() == [[0.0, 2.0]]  # its test map is -2 * map


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
    assert told.count("where in the\ntraining image") == told.count("where in the\ntest image") == 2


def test_the_figure_tells_what_the_maps_are() -> None:
    assert "gradient\n" in texts(explanation().plot())
    told = texts(explanation(method=METHODS["gradient_x_input"]).plot())
    assert "gradient × input" in told
    assert "in the score’s direction" in told
    assert "gradient at layer4" in texts(explanation(settings={"layer": "layer4"}).plot())


def test_the_question_is_why_if_the_label_is_the_prediction() -> None:
    told = texts(explanation(label=1, label_name="bee", label_given=False).plot())
    assert "why “bee”?" in told
    assert "you ask about" not in told


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
    assert len(heat_maps(figure)) == 2 * shown
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

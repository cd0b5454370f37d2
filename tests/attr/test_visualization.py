"""Captum's visualisation takes the maps as they are."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from captum.attr import visualization
from matplotlib.figure import Figure
from torch import Tensor

from captum_tfa import LayerTrainingGradCos, TrainingGradCos
from tests.attr.small_nets import pictures, small_net


def _picture(tensor: Tensor) -> np.ndarray:
    return tensor[0].permute(1, 2, 0).numpy()


def _map() -> Tensor:
    maps = TrainingGradCos(small_net()).attribute(pictures(1, 1), 1, pictures(1, 2))
    assert isinstance(maps, Tensor)
    return maps


@pytest.mark.parametrize("sign", ["all", "positive", "negative", "absolute_value"])
def test_heat_map_shows_the_map_summed_over_channels(sign: str) -> None:
    backend, maps = matplotlib.get_backend(), _map()
    figure, axis = visualization.visualize_image_attr(
        _picture(maps), sign=sign, outlier_perc=0, use_pyplot=False
    )
    assert isinstance(figure, Figure)
    total = maps[0].sum(0).numpy()
    parts = {
        "all": total,
        "positive": total.clip(min=0),
        "negative": -total.clip(max=0),
        "absolute_value": abs(total),
    }
    shown = np.asarray(axis.images[0].get_array())
    np.testing.assert_allclose(shown, parts[sign] / abs(parts[sign]).max(), atol=1e-12)
    assert matplotlib.get_backend() == backend


@pytest.mark.parametrize("method", ["blended_heat_map", "masked_image", "alpha_scaling"])
def test_map_is_drawn_over_its_image(method: str) -> None:
    image = pictures(1, 1)[:, [0, 1, 0]].sigmoid()
    figure, axis = visualization.visualize_image_attr(
        _picture(_map()),
        _picture(image),
        method=method,
        sign="absolute_value",
        show_colorbar=method == "blended_heat_map",
        title="influence",
        use_pyplot=False,
    )
    assert isinstance(figure, Figure)
    assert axis.images
    assert axis.get_title() == "influence"


def test_several_pictures_of_one_map() -> None:
    figure, axes = visualization.visualize_image_attr_multiple(
        _picture(_map()),
        _picture(pictures(1, 1)[:, [0, 1, 0]].sigmoid()),
        ["original_image", "heat_map"],
        ["all", "all"],
        use_pyplot=False,
    )
    assert isinstance(figure, Figure)
    assert len(axes) == 2


def test_interpolated_layer_map_is_drawn() -> None:
    model = small_net()
    tfa = LayerTrainingGradCos(model, model.conv2)
    maps = tfa.attribute(pictures(1, 1), 1, pictures(1, 2))
    assert isinstance(maps, Tensor)
    large = tfa.interpolate(maps.mean(1, keepdim=True), (6, 6), "bilinear")
    figure, axis = visualization.visualize_image_attr(_picture(large), sign="all", use_pyplot=False)
    assert isinstance(figure, Figure)
    assert axis.images[0].get_array().shape == (6, 6)

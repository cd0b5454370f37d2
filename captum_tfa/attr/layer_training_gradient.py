"""What maps on a layer have in common: the score's gradient at the layer's activation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from captum._utils.gradient import compute_layer_gradients_and_eval
from captum.attr import GradientAttribution, LayerAttribution
from captum.log import log_usage
from torch import Tensor, nn

from captum_tfa.attr.repeats import told_from_wrappers
from captum_tfa.attr.rows import Rows, row_chunks, rows_of
from captum_tfa.attr.second_derivatives import refuse_dead_ends, second_derivatives
from captum_tfa.attr.training_gradient import checked_score
from captum_tfa.gradients import outside_inference_mode
from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.modes import in_own_precision
from captum_tfa.scores import Score, SumOfScores

LayerMap = Tensor | tuple[Tensor, ...]


class LayerTrainingGradient(LayerAttribution, GradientAttribution):  # type: ignore[misc]
    """The map ``∂S/∂A`` of a score, at the activation ``A`` of a layer for the training image.

    The paper's layer map (appendix D.1) is its mean over channels, brought to the size of the
    image: ``LayerAttribution.interpolate(map.mean(1, keepdim=True), image.shape[2:])``.

    Args:
        score: any score of a trained model, in evaluation mode when maps are made.
        layer: a module of the model, or a list of modules for several maps at once.

    Raises:
        TypeError: ``score`` is none, or is a mean over several models.
        ValueError: the layer is not part of the model.
    """

    def __init__(self, score: Score, layer: nn.Module | list[nn.Module]) -> None:
        model = checked_score(score).model
        if isinstance(score, SumOfScores) and score.several_models:
            raise TypeError(
                "score is a mean over several models, which have no layer in common; map a layer "
                "of each model's own score."
            )
        LayerAttribution.__init__(self, score, layer)
        GradientAttribution.__init__(self, score)
        inside = set(model.modules())
        layers = layer if isinstance(layer, list) else [layer]
        if not layers:
            raise ValueError("layer is an empty list; give a module of the model or several.")
        for module in layers:
            if not isinstance(module, nn.Module) or module not in inside:
                raise ValueError(
                    f"layer is {type(module).__name__}, which is not a module of the model; give "
                    "for example model.layer4, or a list of modules of the model."
                )

    @told_from_wrappers
    @log_usage()  # type: ignore[untyped-decorator]
    @outside_inference_mode
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: object = None,
        additional_forward_args: Any = None,
        internal_batch_size: int | None = None,
        attribute_to_layer_input: bool = False,
    ) -> LayerMap | list[LayerMap]:
        """Layer maps of training images for test images.

        Args:
            inputs: training images, as in `TrainingGradient.attribute`.
            target: their labels, likewise.
            additional_forward_args: the test side, likewise.
            internal_batch_size: how many training images are worked on at once, likewise.
            attribute_to_layer_input: map what goes into the layer instead of what comes out.

        Returns:
            A tensor of the shape of the layer's activation, ``[B, C, h, w]`` for an image; a
            tuple if the layer gives several; a list of these if ``layer`` is a list.

        Raises:
            TypeError: as `TrainingGradient.attribute`, likewise ``ValueError`` and
                ``RuntimeError``.
        """
        rows = rows_of(self.forward_func, inputs, target, additional_forward_args)
        tensors: list[int] = []

        def of_part(score: Score) -> tuple[Tensor, ...]:
            parts = [
                self._maps(score, chunk, attribute_to_layer_input)
                for one in rows.of_part(score, self.forward_func).of_each_test()
                for chunk in row_chunks(score, one, internal_batch_size)
            ]
            # From one list of layers a chunk to one list of chunks a layer.
            layers = [
                [torch.cat(chunks) for chunks in zip(*layer, strict=True)]
                for layer in zip(*parts, strict=True)
            ]
            tensors[:] = [len(layer) for layer in layers]
            return tuple(tensor for layer in layers for tensor in layer)

        found = iter(self.forward_func.over_parts(of_part))
        maps: list[LayerMap] = []
        for count in tensors:
            several = tuple(next(found) for _ in range(count))
            maps.append(several if count > 1 else several[0])
        return maps if isinstance(self.layer, list) else maps[0]

    def _maps(self, score: Score, rows: Rows, of_layer_input: bool) -> list[tuple[Tensor, ...]]:
        """For each layer the maps of its activations."""
        with (
            model_lock(score.model),  # Captum's hooks would see other threads' passes
            second_derivatives(),
            _layers_in_use(),
            in_own_precision(rows.train[0].device.type),
        ):
            maps, _ = compute_layer_gradients_and_eval(
                lambda *train: refuse_dead_ends(rows.scores(score, train)),
                self.layer if isinstance(self.layer, list) else [self.layer],
                rows.train,
                attribute_to_layer_input=of_layer_input,
            )
        return list(maps)


@contextmanager
def _layers_in_use() -> Iterator[None]:
    """Say in plain words that a score does not depend on a layer."""
    unused = (
        "The score of these images does not depend on the layer: the model does not call it as a "
        "module, or does not use what it returns. Choose a layer that the output depends on."
    )
    try:
        yield
    except AssertionError as error:
        raise ValueError(unused) from error
    except RuntimeError as error:
        if "not have been used in the graph" not in str(error):
            raise
        raise ValueError(unused) from error

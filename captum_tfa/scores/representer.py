"""Representer points: a logit as a sum over training examples [yeh2018representer].

Fit the last layer ``Θ`` anew, on the features ``f_i`` of the training examples, with an L2 penalty:
where the gradient of ``(1/n) Σ_i L_i + λ‖Θ‖²`` is zero,

    Θ = Σ_i α_i f_iᵀ ,   α_i = − (1/2λn) ∂L_i/∂(Θ f_i) ,   (Θ f)_c = Σ_i α_ic ⟨f_i, f⟩ .

The terms of the last sum are the scores. They are exact for the refitted layer, as far as the fit
has converged, and know nothing of how the features were learned.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from captum_tfa.gradients.batches import Batch, check_count, in_order, leaving_chance_alone
from captum_tfa.gradients.locks import model_lock
from captum_tfa.gradients.losses import ExampleLosses, LossFn, OutputFn
from captum_tfa.gradients.plain_pass import plain_pass
from captum_tfa.scores.grad_dot import GradDotScore
from captum_tfa.scores.score import Score
from captum_tfa.scores.sum_of_scores import SumOfScores
from captum_tfa.scores.validate import validate
from captum_tfa.trajectory.at_state import at_state


class RepresenterScore(SumOfScores):
    """``S_c = α_ic ⟨f_i, f_test⟩``: what a training example adds to a logit of the test example.

    Over all training examples they add up to the logit that the refitted last layer gives, a bias
    counting as the weight of a feature that is always 1. It is grad-dot of the refitted layer
    against the logit, over ``2λn``; the user's model keeps its own last layer. Without a label the
    model itself says what is asked. Source: [yeh2018representer]_.

    Args:
        model: the trained model, as for `Score`.
        train_dataset: what the last layer is fitted to, and what is ranked later: pairs
            ``(input, label)``, a dataset or a ``DataLoader`` in order.
        layer: the last layer by its name or itself: a linear layer whose output is the model's.
        regularisation: ``λ``, above 0. The greater, the further the refitted layer is from the
            model's own, and the more examples share in a logit.
        loss_fn: as for `Score`, for class labels, and convex in the outputs, as cross-entropy is.
        output_fn: as for `Score`.
        batch_size: training examples at once, for a dataset.
        iterations: the most that the fit may take, at least 1.

    Attributes:
        residual: ``‖∇‖ / ‖2λΘ‖`` of the refitted layer: how far from exact the sums are.

    Raises:
        TypeError: ``layer`` is no linear layer.
        ValueError: a layer that is not the model's last one, a number out of its range; otherwise
            as `Score`.

    Warns:
        UserWarning: the residual is above 0.001: the fit has not converged.

    Example::

        >>> score = RepresenterScore(model, train_dataset, "fc")
        >>> ScoreInfluence(score, train_dataset).influence((test_images, labels)).sum(1)  # logits
    """

    name = "representer"

    def __init__(
        self,
        model: nn.Module,
        train_dataset: Dataset[Any] | DataLoader[Any],
        layer: nn.Module | str,
        regularisation: float = 0.01,
        loss_fn: LossFn | str | None = None,
        output_fn: OutputFn | None = None,
        batch_size: int = 64,
        iterations: int = 1000,
    ) -> None:
        path, module = _linear(model, layer)
        names = [name for name, _ in module.named_parameters(path)]
        super().__init__(model, loss_fn, output_fn, names, "logit")
        if not (math.isfinite(regularisation) and regularisation > 0):
            raise ValueError(
                f"regularisation is {regularisation!r}; it must be above 0: without a penalty "
                "there is no decomposition."
            )
        if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
            raise ValueError(
                f"iterations is {iterations!r}; it must be a whole number, at least 1."
            )
        losses = ExampleLosses(loss_fn, output_fn)
        loader = in_order(train_dataset, batch_size, 0)
        features, labels = _features(model, path, losses, loader)
        refitted, self.residual = _refit(
            module, features, labels, losses, regularisation, iterations
        )
        if not self.residual <= _MOST_RESIDUAL:
            warnings.warn(
                f"The last layer has not converged: its residual is {self.residual:.2g}, so the "
                "scores do not add up to its logits. Raise iterations or regularisation, or use "
                "float64 (model.double()).",
                stacklevel=2,
            )
        self.regularisation, self.count = float(regularisation), len(features)
        self._refitted = {f"{path}.{name}" if path else name: new for name, new in refitted.items()}
        self._part = GradDotScore(model, loss_fn, output_fn, names, "logit")

    def parts(self) -> Generator[tuple[float, Score], None, None]:
        """Grad-dot of the refitted layer against the logit, over ``2λn``."""
        state = {**self.model.state_dict(), **self._refitted}
        with model_lock(self.model), at_state(self.model, state):
            yield 1 / (2 * self.regularisation * self.count), self._part


_MOST_RESIDUAL = 1e-3
# The search ends there: more is lost when the layer is brought to the model's precision.
_SMALL_ENOUGH = 1e-10


def _linear(model: nn.Module, layer: nn.Module | str) -> tuple[str, nn.Linear]:
    """The layer's name in the model, and itself."""
    validate(model)
    for path, module in model.named_modules():
        if module is layer or path == layer:
            if not isinstance(module, nn.Linear):
                raise TypeError(
                    f"layer is a {type(module).__name__}; it must be the model's last layer, an "
                    "nn.Linear."
                )
            return path, module
    raise ValueError(
        f"layer is {layer if isinstance(layer, str) else type(layer).__name__!r}, which is no "
        "module of the model; give its last layer or that one's name."
    )


def _features(
    model: nn.Module, path: str, losses: ExampleLosses, loader: DataLoader[Any]
) -> tuple[Tensor, Tensor]:
    """What goes into the last layer, ``[n, D]``, and the labels ``[n, ...]``."""
    device = next(model.parameters()).device
    features: list[Tensor] = []
    labels: list[Tensor] = []
    found = 0
    for loaded in leaving_chance_alone(loader):
        batch = Batch.of(loaded, device, found)
        found += len(batch)
        seen: list[tuple[Tensor, Tensor]] = []
        with plain_pass(model) as twin, torch.no_grad():
            last = twin.get_submodule(path)
            handle = last.register_forward_hook(
                lambda _, given, output: seen.append((given[0], output))  # noqa: B023
            )
            try:
                outputs = losses.outputs(twin(*batch.inputs))
            finally:
                handle.remove()
        if len(seen) != 1 or seen[0][0].ndim != 2 or not torch.equal(seen[0][1], outputs):
            raise ValueError(
                f"'{path}' is not the model's last layer: its output for an image must be, as it "
                "is, the output of the model, [B, C]. Name another layer, or pick the output with "
                "output_fn."
            )
        features.append(seen[0][0])
        labels.append(batch.labels)
    if not found:
        raise ValueError("The training set is empty; there is nothing to fit the last layer to.")
    check_count(loader, found)
    return torch.cat(features), torch.cat(labels)


def _refit(
    layer: nn.Linear,
    features: Tensor,
    labels: Tensor,
    losses: ExampleLosses,
    regularisation: float,
    iterations: int,
) -> tuple[dict[str, Tensor], float]:
    """The parameters of the last layer that minimise the penalised loss, and their residual."""
    with torch.inference_mode(False), torch.enable_grad():
        inputs = features.detach().clone().double()
        start = {
            name: parameter.detach().double().clone().requires_grad_()
            for name, parameter in layer.named_parameters()
        }
        if labels.is_floating_point():
            labels = labels.double()
        labels = labels.clone()

        def objective(of: dict[str, Tensor]) -> Tensor:
            outputs = nn.functional.linear(inputs, of["weight"], of.get("bias"))
            penalty = sum((each.square().sum() for each in of.values()), outputs.new_zeros(()))
            return losses.of_outputs(outputs, labels).mean() + regularisation * penalty

        optimiser = torch.optim.LBFGS(
            list(start.values()),
            max_iter=iterations,
            max_eval=4 * iterations,
            tolerance_grad=_SMALL_ENOUGH * regularisation,
            tolerance_change=0,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimiser.zero_grad()
            loss = objective(start)
            loss.backward()
            return loss

        optimiser.step(closure)
        found = {name: each.detach().to(features) for name, each in start.items()}
        # The residual is that of the parameters as they will be used.
        used = {name: each.double().requires_grad_() for name, each in found.items()}
        gradients = torch.autograd.grad(objective(used), list(used.values()))
    size = math.sqrt(sum(float(each.detach().square().sum()) for each in used.values()))
    left = math.sqrt(sum(float(each.square().sum()) for each in gradients))
    return found, left / (2 * regularisation * size) if size else math.inf

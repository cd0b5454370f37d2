"""Of what an audit is: results of another model, data or settings are never taken for its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from captum_tfa.curvature.fingerprint import loss_words, model_hash
from captum_tfa.gradients.losses import ExampleLosses
from captum_tfa.gradients.selection import choose
from captum_tfa.index.identity import IndexedData
from captum_tfa.report.explanation import Setting
from captum_tfa.scores import Score


def fingerprint(
    asked_for: Mapping[str, Setting],
    model: nn.Module,
    train_dataset: Dataset[Any],
    test_dataset: Dataset[Any],
    loss_fn: Callable[..., Tensor] | str | None,
    output_fn: Callable[[Any], Tensor] | None,
    parameters: Any,
    score: Score | None,
) -> dict[str, Any]:
    """All that the results of an audit depend on, as far as it can be told apart.

    Args:
        asked_for: The arguments, by name.
        model: Whose weights count.
        train_dataset: Its number of examples, and a sample of them, count.
        test_dataset: Likewise.
        loss_fn: The loss.
        output_fn: Takes the logits from the model's output.
        parameters: Which count, if no score was given.
        score: If it was.
    """
    chosen = choose(model, parameters if score is None else score.choice)
    return {
        **asked_for,
        "model": model_hash(model),
        "loss": loss_words(ExampleLosses(loss_fn, output_fn)),
        "parameters": sorted(chosen),
        "train": _data(train_dataset),
        "test": _data(test_dataset),
    }


def _data(dataset: Dataset[Any]) -> dict[str, Any]:
    data = IndexedData(dataset, 1, 0)
    return {"examples": data.count, "sample": data.sample(data.count)}

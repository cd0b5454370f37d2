from __future__ import annotations

from typing import Any

import pytest

from captum_tfa.report import explain
from captum_tfa.report.again import how_again
from captum_tfa.report.explanation import Explanation
from tests.report.tiny import TinyPictures, explanation, puzzling_picture, tiny_model


def run(call: str, **names: Any) -> Explanation:
    """What the call gives where these names are known."""
    scope: dict[str, Any] = {"explain": explain, **names}
    exec(f"result = {call}", scope)
    result: Explanation = scope["result"]
    return result


@pytest.mark.parametrize(
    "asked",
    [
        {"method": "gradient", "seed": 5, "test_target": 2},
        {"method": ["occlusion", "gradient"], "score": "grad-dot", "batch_size": 3},
        {"layer": "0", "k": 2, "noise_level": 0.2},
    ],
)
def test_the_call_makes_the_same_again(asked: dict[str, Any]) -> None:
    model, data, image = tiny_model(), TinyPictures(), puzzling_picture()
    first = explain(model, data, image, nt_samples=2, **asked)
    again = run(how_again(first), model=model, train_dataset=data, test_input=image)
    assert dict(again.settings) == dict(first.settings)
    assert again.label_given == first.label_given
    assert [e.index for e in again.opponents] == [e.index for e in first.opponents]
    for one, other in zip(again.proponents, first.proponents, strict=True):
        assert one.map.equal(other.map)


def test_what_was_made_by_the_user_is_named() -> None:
    own = explanation(settings={"score": "influence (cos)", "layer": None})
    assert "score=score,  # influence (cos)\n" in how_again(own)
    settings = {"score": "grad-cos", "loss": "focal", "parameters": "chosen"}
    loss = explanation(settings=settings, score_name="grad-cos")
    assert "loss_fn=loss_fn,  # focal\n" in how_again(loss)
    assert "score='grad-cos',\n" in how_again(loss)
    assert "parameters=parameters,\n" in how_again(loss)


def test_an_index_is_named() -> None:
    assert "index=index,  # 8 numbers an example\n" in how_again(
        explanation(settings={"index": "8 numbers an example"})
    )
    assert "index=" not in how_again(explanation(settings={"index": None}))


def test_a_command_is_told_as_it_was_typed() -> None:
    assert how_again(explanation(command="captum-tfa demo")) == "captum-tfa demo"

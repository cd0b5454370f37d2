"""The call that makes an explanation again, for a reader of its report."""

from __future__ import annotations

from captum_tfa.report.explanation import Explanation


def how_again(explanation: Explanation) -> str:
    """The command of the shell that made it, or else the call of `explain`.

    The call names what the explanation knows by name; model, data and image are the user's own.
    """
    if explanation.command is not None:
        return explanation.command
    settings = explanation.settings
    given = ["model", "train_dataset", "test_input"]
    if explanation.label_given:
        given.append(f"test_target={explanation.label}")
    given += [
        f"{name}={settings[name]!r}"
        for name in ("k", "nt_samples", "noise_level")
        if name in settings
    ]
    if explanation.score_name is None:
        given.append(f"score=score,  # {settings.get('score')}")
    else:  # one made by the user has its own loss and parameters
        given.append(f"score={explanation.score_name!r}")
        loss = settings.get("loss", "cross-entropy")
        given += [f"loss_fn=loss_fn,  # {loss}"] if loss != "cross-entropy" else []
        given += ["parameters=parameters"] if settings.get("parameters") == "chosen" else []
    methods = [method.name for method in (explanation.method, *explanation.more_methods)]
    layer = settings.get("layer")
    if layer is not None:
        given.append(f"layer={layer!r}")
    else:
        given.append(f"method={(methods[0] if len(methods) == 1 else methods)!r}")
    given += [f"{name}={settings[name]!r}" for name in ("batch_size", "seed") if name in settings]
    if settings.get("index") is not None:
        given.append(f"index=index,  # {settings['index']}")
    lines = [f"    {part}" if "  # " in part else f"    {part}," for part in given]
    return "\n".join(["explain(", *lines, ")"])

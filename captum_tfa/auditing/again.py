"""The call that makes an audit again, for a reader of its report."""

from __future__ import annotations

from captum_tfa.auditing.result import Audit
from captum_tfa.report.arguments import DEFAULT_SCORE, SCORES


def how_again(audit: Audit) -> str:
    """The command of the shell that made it, or else the call of `audit`.

    The call names what the audit knows by name; model and data are the user's own.
    """
    if audit.command is not None:
        return audit.command
    settings = audit.settings
    score = str(settings["score"])
    lines = ["model", "train_dataset", "test_dataset"]
    lines.append(
        f"score={score!r}" if score in (*SCORES, DEFAULT_SCORE) else f"score=score,  # {score}"
    )
    lines += [
        f"{name}={settings[name]!r}"
        for name in ("method", "max_mistakes", "k", "controls", "nt_samples", "noise_level", "seed")
    ]
    if settings["loss"] != "cross-entropy":
        lines.append(f"loss_fn=loss_fn,  # {settings['loss']}")
    if settings["index"] is not None:
        lines.append(f"index=index,  # {settings['index']}")
    return "\n".join(
        ["audit(", *(f"    {each}" if "  # " in each else f"    {each}," for each in lines), ")"]
    )

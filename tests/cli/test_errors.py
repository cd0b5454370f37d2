from __future__ import annotations

import pytest
import torch

from captum_tfa import GradCosScore
from captum_tfa.cli.errors import UserError, as_user_error, own_errors


def test_the_packages_own_errors_become_one_line() -> None:
    model = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(UserError, match="requires_grad") as raised, own_errors():
        GradCosScore(model)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [ValueError, TypeError, RuntimeError, KeyError])
def test_errors_from_elsewhere_stay_what_they_are(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="a bug"), own_errors():
        raise kind("a bug")


def test_named_kinds_become_user_errors_wherever_they_come_from() -> None:
    with pytest.raises(UserError, match="no space left"), as_user_error(OSError):
        raise OSError("no  space\nleft")


def test_an_error_handed_on_by_a_loading_process_is_its_last_line() -> None:
    handed_on = (
        "Caught UserError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py", line 1\ncaptum_tfa.cli.errors.UserError: a.png is broken; move it'
    )
    assert str(UserError(handed_on)) == "a.png is broken; move it"

from __future__ import annotations

from dataclasses import replace

from captum_tfa.auditing import audit
from captum_tfa.auditing.again import how_again
from captum_tfa.auditing.result import Audit
from tests.auditing.small import MODEL, TESTS, TRAIN, small_audit


def test_the_call_that_is_told_makes_the_same_audit() -> None:
    first = small_audit(max_mistakes=2, k=2, controls=2, method="gradient", nt_samples=3, seed=4)
    told = how_again(first)
    scope = {"audit": audit, "model": MODEL, "train_dataset": TRAIN, "test_dataset": TESTS}
    again: Audit = eval(told, scope)  # our own words
    assert again.settings == first.settings
    assert [m.opponents for m in again.mistakes] == [m.opponents for m in first.mistakes]


def test_a_command_is_told_as_it_was_typed() -> None:
    first = small_audit(max_mistakes=1, k=1, controls=1)
    assert how_again(replace(first, command="captum-tfa audit --x")) == "captum-tfa audit --x"

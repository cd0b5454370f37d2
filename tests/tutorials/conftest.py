"""The tutorials import their helpers from the folder they stand in: so do the tests."""

import functools
import sys

import pytest

from tests.tutorials.running import TUTORIALS

sys.path.insert(0, str(TUTORIALS))


@pytest.fixture
def small_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs are 48 pixels wide where a tutorial does not say how large they are."""
    from common import data

    small = functools.partial(data.photographs, side=48)
    monkeypatch.setattr(data, "photographs", small)

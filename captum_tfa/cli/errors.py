"""The one kind of error that a user of the command sees: a line that says what to do."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


class UserError(Exception):
    """Something that the user can put right; its text says how."""

    def __str__(self) -> str:
        """The text on one line.

        A process of a `DataLoader` hands its error on with a traceback before it; the error
        itself is then the last line.
        """
        text = super().__str__()
        if text.startswith("Caught "):
            text = text.strip().splitlines()[-1].split(f"{type(self).__name__}: ", 1)[-1]
        return one_line(text)


def one_line(text: object) -> str:
    """A text, or an exception's, with all its white space made single spaces."""
    return " ".join(str(text).split())


@contextmanager
def own_errors() -> Iterator[None]:
    """Turns the errors that this package raises, written for users, into `UserError`.

    Errors of the same kinds that come from elsewhere are bugs and keep their traceback.
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
        if _PACKAGE not in Path(raised_in).resolve().parents:
            raise
        raise UserError(one_line(error)) from error


@contextmanager
def as_user_error(*kinds: type[Exception]) -> Iterator[None]:
    """Turns exceptions whose message is written for users into `UserError`."""
    try:
        yield
    except kinds as error:
        raise UserError(one_line(error)) from error

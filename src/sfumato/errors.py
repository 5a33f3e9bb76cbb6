"""The error tree. Every message says what was wrong, where, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SfumatoError(Exception):
    """Base of all errors that a user can act on. Faces show ``str(error)`` and no stack trace."""

    #: What a command-line program exits with.
    exit_code = 2


class RequestError(SfumatoError):
    """A request that can't be carried out as it is: an unknown name, a size that does not fit."""


class ConfigError(SfumatoError):
    """One or more wrong settings; the message has a line for each, with file, line and key."""


class CheckpointError(SfumatoError):
    """A model file that is missing, damaged, or of no family that is known.

    What a file says of itself may be in the message, so control characters of it are shown as ``?``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """The text with ``?`` for everything that would do something to a terminal instead of being shown.

    >>> printable("a\\x1b[2J\\nb")
    'a?[2J?b'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in text)


class OutputError(SfumatoError):
    """A picture could not be written: the folder is read-only, missing or full."""


class DeviceError(SfumatoError):
    """A device or precision that this machine does not have."""


class NumericError(SfumatoError):
    """A stage gave NaN or infinity; the message names stage and step. Nothing is written."""

    exit_code = 1


class OutOfMemoryError(SfumatoError):
    """The device has not the memory that a picture needs; the message says what to make smaller."""

    exit_code = 1


class JobError(SfumatoError):
    """What was asked of the queue can't be done."""


class UnknownJobError(JobError):
    """There is no job of this id."""


class JobStateError(JobError):
    """The job's state does not allow the move: a finished job can't be cancelled, a running one can't be moved."""


class IdempotencyError(JobError):
    """The idempotency key was used before, with another request."""


class QueueFullError(JobError):
    """The client has as many unfinished jobs as it may have."""


class QueueBusyError(JobError):
    """Another process serves this queue's folder."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> str:
    """The known names most like ``name``, ready for a message: ``"nearest: 'Euler', 'Euler a'"``, or ``""``.

    >>> nearest("eular", ["Euler", "Heun"])
    "nearest: 'Euler'"
    """
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.5)
    return "nearest: " + ", ".join(repr(by_lower[c]) for c in close) if close else ""

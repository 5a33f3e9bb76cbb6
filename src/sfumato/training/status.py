"""How a run stands, as its folder tells it: other processes, and later ones, read it there. Imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import psutil

from sfumato.errors import SfumatoError
from sfumato.runtime.atomic import write_whole

#: The file in a run's folder, and that of what its process says when a server started it.
NAME, LOG = "run.json", "log.txt"
#: A folder with this file in it is no place for pictures to be looked at; other programs know it too.
NO_MEDIA = ".nomedia"


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a run stands.

    Attributes:
        state: ``starting``, ``running``, ``done``, ``stopped`` or ``failed``.
        pid, born: the process and when it was made, in seconds since 1970; a number alone may be another's by now.
        steps: how many there are to be; 0 where that is not known yet.
        output: the result's path, once it is done.
        flags: of ``train``, to go on with; empty if it was started elsewhere.
    """

    state: str
    pid: int = 0
    born: float = 0.0
    steps: int = 0
    output: str = ""
    message: str = ""
    flags: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        """Whether its process is there and has not ended."""
        return self.state in ("starting", "running") and process_of(self) is not None


def process_of(status: Status) -> psutil.Process | None:
    """The run's process, if it is still there."""
    try:
        process = psutil.Process(status.pid)
        same = abs(process.create_time() - status.born) < 1
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.Error, ValueError):
        return None


def born(pid: int) -> float:
    """When a process was made; 0 if it is gone."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def write(folder: Path, status: Status) -> None:
    """Keep it in the run's folder. Raises OutputError if that can't be written."""
    write_whole(folder / NAME, json.dumps(asdict(status), indent=2).encode())


def read(folder: Path) -> Status | None:
    """How the run of a folder stands, or None if it has none.

    One whose process has ended without a word is ``stopped``, or ``failed`` if its log ends with an error.
    """
    try:
        values = json.loads((folder / NAME).read_text(encoding="utf-8"))
        known = {field.name for field in fields(Status)}
        found = Status(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
    found = replace(found, flags=tuple(found.flags))
    if found.state in ("starting", "running") and not found.alive:
        reason = _last_error(folder / LOG)
        return replace(found, state="failed" if reason else "stopped", message=reason)
    return found


def _last_error(log: Path) -> str:
    """What a process said last, if that was an error; several lines of one error are taken together."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    _, mark, reason = text.rpartition("Error: ")
    return " ".join(reason.split()) if mark else ""


@contextlib.contextmanager
def recorded(folder: Path, steps: int) -> Iterator[Callable[..., None]]:
    """In the block the run's folder says that it runs; after it, how it ended, as the function that is given was told.

    Raises:
        OutputError: the folder can't be written.
    """
    before = read(folder)
    pid = os.getpid()
    now = Status(state="running", pid=pid, born=born(pid), steps=steps, flags=before.flags if before else ())
    write(folder, now)
    (folder / NO_MEDIA).touch()

    def tell(state: str, output: str = "") -> None:
        write(folder, replace(now, state=state, output=output))

    try:
        yield tell
    except SfumatoError as error:
        write(folder, replace(now, state="failed", message=str(error)))
        raise
    except KeyboardInterrupt:
        write(folder, replace(now, state="stopped"))
        raise

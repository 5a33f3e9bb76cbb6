"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from sfumato.errors import OutputError

#: What unfinished files' names begin with.
PREFIX = ".sfumato-"


def remove_unfinished(folder: Path, name: str = "") -> None:
    """Delete what a process that was killed left unfinished in ``folder``, of the file ``name`` or of all."""
    for path in folder.glob(f"{PREFIX}{glob.escape(name)}*"):
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | Callable[[BinaryIO], None]) -> None:
    """Put ``content``, or what a function writes, at ``path``.

    Raises:
        OutputError: as :func:`whole_path`.
    """
    with whole_path(path) as temporary, temporary.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            content(file)


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, that is synced and takes its place when the block ends well, else deleted.

    Raises:
        OutputError: the folder can't be written or the disk is full; what was at ``path`` is still there.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PREFIX}{path.name}-")
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: can't be written ({error.strerror or error}); nothing was changed.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)

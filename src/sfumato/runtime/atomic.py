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
    """Put ``content``, or what a function writes, at ``path``: temporary file beside it, fsync, rename.

    Raises:
        OutputError: the folder can't be written or the disk is full; what was at ``path`` is still there.
    """
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{PREFIX}{path.name}-", delete=False) as file:
            name = file.name
            if callable(content):
                content(file)  # pyright: ignore[reportArgumentType]
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException as error:
        if name is not None:
            with contextlib.suppress(OSError):
                Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"{path}: can't be written ({error.strerror or error}); nothing was changed.") from error
        raise


@contextlib.contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, that takes its place when the block ends well and is deleted otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f"{PREFIX}{path.name}-")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

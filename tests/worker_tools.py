"""What tests give to worker processes. A process that imports this notes each of its socket events in a file."""

from __future__ import annotations

import functools
import io
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL.PngImagePlugin import PngInfo

from sfumato.jobs.messages import Tools
from sfumato.request import ImageInfo

NOTES = os.environ.get("SFUMATO_TEST_SOCKETS")
_noting = False


def _note(event: str, arguments: tuple[object, ...]) -> None:
    global _noting
    if event.startswith("socket.") and not _noting:
        _noting = True
        with Path(str(NOTES)).open("a") as file:
            file.write(f"{event} {arguments}\n")
        _noting = False


if NOTES:
    sys.addaudithook(_note)


def encode(image: Any, info: ImageInfo, metadata: str | None) -> bytes:
    """A PNG with nothing in it, but for the wished metadata as its text."""
    out, text = io.BytesIO(), PngInfo()
    if metadata is not None:
        text.add_text("metadata", metadata)
    image.save(out, "PNG", pnginfo=text)
    return out.getvalue()


def tools(path: Path) -> Tools:
    """A studio of the model at ``path``; or, for a model of that name, one that talks, crashes or is killed."""
    return Tools(open_studio=functools.partial(open_studio, path), encode=encode)


def open_studio(path: Path, model: str | None) -> Any:
    """See :func:`tools`."""
    mischief: dict[str | None, Callable[[], object]] = {
        "talk": lambda: socket.socket(),
        "look up": lambda: socket.getaddrinfo("example.org", 80),
        "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "exit": lambda: os._exit(3),
        "be killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    }
    if model in mischief:
        mischief[model]()
    from sfumato.engine.studio import Studio
    from sfumato.jobs import artist

    artist.PREVIEW_PAUSE = 0.0  # tiny pictures are drawn before there would be one
    return Studio(path, device="cpu", precision="full", threads=1)

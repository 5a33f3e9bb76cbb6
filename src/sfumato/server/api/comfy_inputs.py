"""Pictures that ComfyUI's clients upload: made anew, and kept under names that are the hash of their pixels."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path

from PIL import Image

from sfumato.errors import RequestError
from sfumato.runtime.atomic import write_whole
from sfumato.server import images
from sfumato.server.limits import Limits

#: So many are kept; after that the one that was used least lately goes. A queued job has a copy of its own.
KEPT = 64
_NAME = re.compile(r"[0-9a-f]{32}\.png")


class Inputs:
    """A folder of PNG files, made when the first one comes. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits

    def put(self, data: bytes) -> str:
        """Keep a file's picture; its name. Raises RequestError: it is none or too large. OutputError: the disk."""
        buffer = io.BytesIO()
        images.from_bytes(data, self._limits.picture_pixels).save(buffer, "PNG", compress_level=1)
        name = hashlib.sha256(buffer.getvalue()).hexdigest()[:32] + ".png"
        path = self._folder / name
        if path.exists():
            os.utime(path)
        else:
            write_whole(path, buffer.getvalue())
            for old in self._by_age()[:-KEPT]:
                old.unlink(missing_ok=True)
        return name

    def names(self) -> list[str]:
        """Of all, the newest first."""
        return [path.name for path in reversed(self._by_age())]

    def file(self, name: str) -> Path | None:
        """Where the picture of a name lies; None if it is not here."""
        path = self._folder / name
        return path if _NAME.fullmatch(name) and path.is_file() else None

    def get(self, name: str) -> Image.Image:
        """The picture of a name. Raises RequestError: it is not here."""
        if (path := self.file(name)) is None:
            raise RequestError(
                f"There is no uploaded picture {name[:80]!r}; take the name that /upload/image answered."
            )
        return images.from_bytes(path.read_bytes(), self._limits.picture_pixels)

    def _by_age(self) -> list[Path]:
        found = [path for path in self._folder.glob("*.png") if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda path: path.stat().st_mtime)

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
from sfumato.server.strict import loads

#: So many are kept; after that the one that was used least lately goes. A queued job has a copy of its own.
KEPT = 64
#: A file by ComfyUI's three words for it: type, subfolder and name.
Reference = tuple[str, str, str]
_ANNOTATED = re.compile(r"(?P<name>.+) \[(?P<type>input|output|temp)\]")
_NAME = re.compile(r"[0-9a-f]{32}\.png")


def read_reference(text: object) -> Reference:
    """A form's ``original_ref``: JSON of ``filename``, ``subfolder`` and ``type``, which may stand behind the name too.

    Raises:
        RequestError: it is none.

    >>> read_reference('{"filename": "a.png [input]"}')
    ('input', '', 'a.png')
    """
    try:
        given = loads(text.encode()) if isinstance(text, str) else None
    except ValueError:
        given = None
    plain = given if isinstance(given, dict) else {}
    found = [plain.get(key, unsaid) for key, unsaid in (("type", "output"), ("subfolder", ""), ("filename", ""))]
    if not all(isinstance(each, str) for each in found) or not found[2]:
        raise RequestError('original_ref: JSON is needed, as {"filename": NAME, "subfolder": "", "type": "input"}.')
    kind, subfolder, name = found
    said = _ANNOTATED.fullmatch(name)
    return (kind, subfolder, name) if said is None else (said["type"], subfolder, said["name"])


class Inputs:
    """A folder of PNG files, made when the first one comes. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits

    def put(self, data: bytes) -> str:
        """Keep a file's picture; its name. Raises RequestError: it is none or too large. OutputError: the disk."""
        return self._keep(images.from_bytes(data, self._limits.picture_pixels))

    def put_mask(self, data: bytes, original: Path) -> str:
        """Keep a picture with the transparency of another, which marks what is to be drawn anew; its name.

        Args:
            data: the file whose alpha counts; without any, nothing is marked.
            original: where the picture lies.

        Raises:
            RequestError: one is no picture, is too large, or they differ in size. OutputError: the disk.
        """
        mask = images.from_bytes(data, self._limits.picture_pixels).convert("RGBA")
        try:
            picture = images.from_bytes(original.read_bytes(), self._limits.picture_pixels).convert("RGBA")
        except OSError as error:  # it went in this moment
            raise RequestError(f"original_ref: the picture can't be read: {error.strerror}") from error
        if mask.size != picture.size:
            sizes = f"{mask.width}x{mask.height} and the picture {picture.width}x{picture.height}"
            raise RequestError(f"image: the mask has {sizes} pixels; send one of the picture's size.")
        picture.putalpha(mask.getchannel("A"))
        return self._keep(picture)

    def _keep(self, picture: Image.Image) -> str:
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
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

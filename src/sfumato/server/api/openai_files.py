"""Pictures of the OpenAI dialect: as the wished format, and kept a while for those who asked for an address."""

from __future__ import annotations

import io
import secrets
import threading
from collections import OrderedDict

from fastapi.responses import Response
from PIL import Image
from starlette.exceptions import HTTPException

from sfumato.gallery import files, provenance
from sfumato.server.work import Drawn

#: How many pictures an address is kept for; older ones go.
KEPT = 64
_MEDIA = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}


def convert(drawn: Drawn, format: str, compression: int | None) -> bytes:
    """A picture in a format, with the metadata that its file has; ``compression`` is the quality of a JPEG or WebP."""
    with Image.open(io.BytesIO(drawn.data)) as image:
        if image.format == format.upper() and (format == "png" or compression in (None, 100)):
            return drawn.data
        text, marked = files.read_bytes(drawn.data), provenance.is_marked(image)
        return files.encode(image.convert("RGB"), format, text, compression, marked)


class Keeper:
    """The last pictures that were given by address, in memory, under names that nobody guesses."""

    def __init__(self) -> None:
        self._lock, self._kept = threading.Lock(), OrderedDict[str, tuple[bytes, str]]()

    def keep(self, data: bytes, format: str) -> str:
        """The name of a picture."""
        name = f"{secrets.token_urlsafe(24)}.{files.FORMATS[format]}"
        with self._lock:
            self._kept[name] = (data, _MEDIA[format])
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return name

    def send(self, name: str) -> Response:
        """The picture, or 404."""
        with self._lock:
            found = self._kept.get(name)
        if found is None:
            raise HTTPException(404, "There is no such picture, or not any more.")
        return Response(found[0], media_type=found[1], headers={"X-Content-Type-Options": "nosniff"})

"""Pictures that visitors work from: on disk by the hash of their file, so that a page finds them again."""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from PIL import Image

from sfumato.errors import RequestError
from sfumato.runtime.atomic import write_whole
from sfumato.server import images
from sfumato.server.limits import Limits

#: So many are kept; after that the one that was used least lately goes.
KEPT = 64
_NAME = re.compile("[0-9a-f]{64}")


class Tray:
    """A folder of PNG files. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """``folder`` is made when the first picture comes."""
        self._folder, self._limits = folder, limits

    def put(self, picture: Image.Image) -> str:
        """Keep a picture; returns its name. Raises OutputError: it can't be written."""
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", compress_level=1)
        name = hashlib.sha256(buffer.getvalue()).hexdigest()
        path = self._folder / f"{name}.png"
        if path.exists():
            os.utime(path)
        else:
            write_whole(path, buffer.getvalue())
            self._tidy()
        return name

    def read(self, data: bytes) -> str:
        """Keep the picture of a file's bytes; returns its name. Raises RequestError: it is none, or too large."""
        return self.put(images.from_bytes(data, self._limits.picture_pixels))

    def get(self, name: str) -> Image.Image:
        """The picture of a name. Raises RequestError: it is not here any more."""
        try:
            return images.from_bytes(self.file(name).read_bytes(), self._limits.picture_pixels)
        except OSError as error:
            raise RequestError("That picture is not here any more; choose it again.") from error

    def file(self, name: str) -> Path:
        """Where it lies. Raises RequestError: it is not here any more."""
        path = self._folder / f"{name}.png"
        if not _NAME.fullmatch(name) or not path.is_file():
            raise RequestError("That picture is not here any more; choose it again.")
        return path

    def _tidy(self) -> None:
        files = sorted(self._folder.glob("*.png"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[KEPT:]:
            path.unlink(missing_ok=True)


def tray_url(name: str) -> str:
    """Where a picture of the tray is."""
    return f"/edit/pictures/{name}"


def routes(tray: Tray) -> APIRouter:
    """How the page brings a picture in and shows it."""
    router = APIRouter(include_in_schema=False)

    @router.post("/edit/pictures")
    async def put(request: Request) -> dict[str, str]:
        return {"name": await run_in_threadpool(tray.read, await request.body())}

    @router.get("/edit/pictures/{name}")
    def get(name: str) -> FileResponse:
        return FileResponse(tray.file(name), media_type="image/png", headers={"Cache-Control": "private, immutable"})

    return router

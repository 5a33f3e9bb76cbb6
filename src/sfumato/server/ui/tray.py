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
from nicegui import app
from PIL import Image, PngImagePlugin

from sfumato.errors import RequestError
from sfumato.gallery import files
from sfumato.jobs.types import Job
from sfumato.runtime.atomic import write_whole
from sfumato.server import images
from sfumato.server.limits import Limits
from sfumato.server.ui.compare import Before

#: So many are kept; after that the one that was used least lately goes.
KEPT = 64
_NAME = re.compile("[0-9a-f]{64}")


class Tray:
    """A folder of PNG files. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """``folder`` is made when the first picture comes."""
        self._folder, self._limits = folder, limits

    def put(self, picture: Image.Image, text: str = "") -> str:
        """Keep a picture and what it says of itself; returns its name. Raises OutputError: it can't be written."""
        buffer, said = io.BytesIO(), PngImagePlugin.PngInfo()
        if text:
            said.add_text("parameters", text)
        picture.save(buffer, "PNG", compress_level=1, pnginfo=said)
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
        return self.put(images.from_bytes(data, self._limits.picture_pixels), files.read_bytes(data) or "")

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


class Befores:
    """What each of a visitor's jobs was made from, kept under a name of its own with what else is kept of a visit."""

    def __init__(self, tray: Tray, kept: str) -> None:
        self._tray, self._kept = tray, kept

    def keep(self, job: str, picture: str, resize_mode: str) -> None:
        """Remember the picture's name, and how it was fitted, for a job's id."""
        known = {**app.storage.user.get(self._kept, {}), job: [picture, resize_mode]}
        app.storage.user[self._kept] = dict(list(known.items())[-KEPT:])

    def of(self, job: Job) -> Before | None:
        """Where it is, if it still is."""
        name, mode = app.storage.user.get(self._kept, {}).get(job.id, (None, ""))
        try:
            return None if name is None else Before(tray_url(self._tray.file(name).stem), mode)
        except RequestError:
            return None


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

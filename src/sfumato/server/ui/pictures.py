"""The addresses at which pictures, previews and thumbnails are served to the pages."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Response
from fastapi.responses import FileResponse

from sfumato.errors import RequestError, UnknownJobError
from sfumato.gallery.album import Entry, Gallery
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.types import Job


def picture_url(job: Job, index: int = 0) -> str:
    """Where the picture of a done job is."""
    return f"/ui/jobs/{job.id}/{index}"


def preview_url(job: Job) -> str:
    """Where a running job's newest preview is: another address for each step, so that no cache keeps an old one."""
    return f"/ui/jobs/{job.id}/preview?{job.attempt}.{job.progress.step}"


def thumbnail_url(entry: Entry) -> str:
    """Where a small copy of the gallery's picture is."""
    return f"/ui/gallery/{entry.id}/thumbnail"


def full_url(entry: Entry) -> str:
    """Where the gallery's picture is."""
    return f"/ui/gallery/{entry.id}"


def gallery_routes(gallery: Gallery) -> APIRouter:
    """The gallery's pictures by their ids: no path is ever taken from a request."""
    router = APIRouter(prefix="/ui/gallery", include_in_schema=False)

    @router.get("/{id}/thumbnail")
    def thumbnail(id: str) -> Response:
        try:
            return Response(gallery.thumbnail(id), media_type="image/webp", headers={"Cache-Control": "max-age=3600"})
        except RequestError as error:
            raise HTTPException(404, str(error)) from error

    @router.get("/{id}")
    def picture(id: str) -> Response:
        try:
            return FileResponse(gallery.file(id))
        except RequestError as error:
            raise HTTPException(404, str(error)) from error

    return router


def job_routes(queue: JobQueue) -> APIRouter:
    """A job's pictures by its id and their index."""
    router = APIRouter(prefix="/ui/jobs", include_in_schema=False)

    def look_up(job: str) -> Job:
        try:
            return queue.get(job)
        except UnknownJobError as error:
            raise HTTPException(404, str(error)) from error

    @router.get("/{job}/preview")
    def preview(job: str) -> Response:
        data = look_up(job).progress.preview
        if data is None:
            raise HTTPException(404, "There is no preview yet.")
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.get("/{job}/{index}")
    def picture(job: str, index: int) -> Response:
        pictures = look_up(job).pictures
        if not 0 <= index < len(pictures) or not pictures[index].path.is_file():
            raise HTTPException(404, "This picture is not there any more.")
        return FileResponse(pictures[index].path)

    return router

"""The addresses of pictures and previews, which the native API serves; and the ways to other pages."""

from __future__ import annotations

from pathlib import Path

from nicegui import ui

from sfumato.errors import RequestError
from sfumato.gallery.album import Entry
from sfumato.jobs.types import Job
from sfumato.server.services import Services
from sfumato.server.ui.words import say


def picture_url(job: Job, index: int = 0) -> str:
    """Where the picture of a done job is."""
    return f"/api/v1/jobs/{job.id}/pictures/{index}"


def preview_url(job: Job) -> str:
    """Where a running job's newest preview is: another address for each step, so that no cache keeps an old one."""
    return f"/api/v1/jobs/{job.id}/preview?{job.attempt}.{job.progress.step}"


def full_url(entry: Entry) -> str:
    """Where the gallery's picture is."""
    return f"/api/v1/gallery/{entry.id}/file"


def to_edit(job: Job, index: int) -> None:
    """Go to the page that edits, with the picture of a done job."""
    ui.navigate.to(f"/edit?job={job.id}&index={index}")


def to_upscale(job: Job, index: int) -> None:
    """Go to the page that makes larger, with the picture of a done job."""
    ui.navigate.to(f"/upscale?job={job.id}&index={index}")


def arrived(services: Services, job: str, index: int, picture: str) -> Path:
    """The file of a done job's picture, or of the gallery's where ``job`` is empty.

    Raises:
        SfumatoError: it is gone.
    """
    if not job:
        return services.gallery.file(picture)
    pictures = services.queue.get(job, whole=False).pictures
    if not 0 <= index < len(pictures):
        raise RequestError(f"The job has {len(pictures)} pictures; there is no number {index}.")
    if not pictures[index].path.is_file():
        raise RequestError(say("picture_gone"))
    return pictures[index].path

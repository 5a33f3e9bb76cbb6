"""The addresses of pictures, previews and thumbnails, which the native API serves."""

from __future__ import annotations

from sfumato.gallery.album import Entry
from sfumato.jobs.types import Job


def picture_url(job: Job, index: int = 0) -> str:
    """Where the picture of a done job is."""
    return f"/api/v1/jobs/{job.id}/pictures/{index}"


def preview_url(job: Job) -> str:
    """Where a running job's newest preview is: another address for each step, so that no cache keeps an old one."""
    return f"/api/v1/jobs/{job.id}/preview?{job.attempt}.{job.progress.step}"


def thumbnail_url(entry: Entry) -> str:
    """Where a small copy of the gallery's picture is."""
    return f"/api/v1/gallery/{entry.id}/thumbnail"


def full_url(entry: Entry) -> str:
    """Where the gallery's picture is."""
    return f"/api/v1/gallery/{entry.id}/file"


def edit_url(job: Job, index: int) -> str:
    """The page that edits, with the picture of a done job."""
    return f"/edit?job={job.id}&index={index}"

"""From drawn pictures to a done job, so that a crash at any moment neither loses a picture nor saves it twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sfumato.jobs.messages import Saver
from sfumato.jobs.queue import JobQueue
from sfumato.jobs.types import Job, Picture
from sfumato.request import ImageInfo
from sfumato.runtime.atomic import write_whole


def deliver(queue: JobQueue, saver: Saver, job: Job, pictures: Sequence[tuple[bytes, ImageInfo]]) -> None:
    """Put each picture where it belongs, then say that the job is done.

    Each is first written to the queue's own folder. If it lies there already, an earlier attempt came this far, and may
    have put it into the output folder without living to say so: then it is looked for there.

    Raises:
        OutputError: a folder can't be written or the disk is full.
    """
    if not queue.current(job):
        return
    staged = [queue.folder / "results" / f"{job.id}-{k}.{saver.extension}" for k in range(len(pictures))]
    done = []
    for path, (data, info) in zip(staged, pictures, strict=True):
        earlier = path.exists()
        if not earlier or path.read_bytes() != data:
            write_whole(path, data)
        done.append(Picture(path=_place(queue, saver, path, data, info, earlier) if job.save else path, info=info))
    if not queue.finish(job, done):
        for picture in done:
            picture.path.unlink(missing_ok=True)
    if job.save:
        for path in staged:
            path.unlink(missing_ok=True)


def _place(queue: JobQueue, saver: Saver, staged: Path, data: bytes, info: ImageInfo, earlier: bool) -> Path:
    if earlier:
        for found in saver.placed(data, staged.stat().st_mtime):
            if not queue.has_picture(found):
                return found
    return saver.place(data, info)

"""What a picture's metadata say of varied noise, edges that fit and guidance that is put back; the web UI's names."""

from __future__ import annotations

from sfumato.engine.resolve import Job


def describe(job: Job, number: int) -> dict[str, object]:
    """Of the job's picture ``number``; empty if nothing of this was asked for."""
    request, said = job.request, {}
    if job.subseeds:
        said["Variation seed"] = job.subseeds[number]
        said["Variation seed strength"] = request.subseed_strength
    if request.seed_resize_from_w and request.seed_resize_from_h:
        said["Seed resize from"] = f"{request.seed_resize_from_w}x{request.seed_resize_from_h}"
    if request.tiling:
        said["Tiling"] = True
    if request.guidance_rescale:
        said["CFG Rescale"] = request.guidance_rescale
    return said

"""What a request will take, told before it is drawn: memory by the planner, time by what was drawn of late."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sfumato.jobs.states import State
from sfumato.jobs.types import Job
from sfumato.request import ImageInfo, Txt2ImgRequest, expected_size
from sfumato.runtime.plan import Ask, Outlook
from sfumato.sampling import names
from sfumato.server.services import Services

#: How many done jobs are looked at, and how many of the nearest in size are believed.
LOOKED_AT, BELIEVED = 50, 9
#: A job of more than so many times fewer or more pixels says nothing of this one.
LIKE = 4.0


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Memory in bytes, time in seconds.

    Attributes:
        fits: whether ``needed`` is at most ``free``, which is what the planner may take.
        memory: how it would be used, one of :data:`sfumato.runtime.plan.RUNGS`. reasons: a sentence for each choice.
        nearest: where it does not fit, what does: ``memory``, ``batch_size``, ``width`` and ``height``.
        seconds: of the drawing alone, without loading the model or waiting; None where nothing like it was drawn.
        like: how many jobs ``seconds`` comes from.
    """

    needed: int
    free: int
    fits: bool
    memory: str
    stages: Mapping[str, int]
    reasons: tuple[str, ...]
    nearest: Mapping[str, Any] | None
    seconds: float | None
    like: int


def forecast(services: Services, request: Txt2ImgRequest, model: str | None = None) -> Forecast:
    """What ``request`` would take with ``model``, None being the server's. Takes milliseconds and loads nothing.

    Raises:
        CheckpointError: there is no such model, or it can't be read.
    """
    name = services.model if model is None else model
    width, height = expected_size(request, services.defaults.size)
    seen = services.outlook(name, Ask(width, height, request.batch_size), request.refiner)
    seconds, like = _expected_seconds(services, request, name)
    return Forecast(
        needed=seen.plan.peak,
        free=seen.room,
        fits=seen.fits,
        memory=seen.plan.rung,
        stages=seen.plan.stages,
        reasons=seen.plan.reasons,
        nearest=_settings(seen),
        seconds=seconds,
        like=like,
    )


def _settings(seen: Outlook) -> dict[str, Any] | None:
    if seen.nearest is None:
        return None
    rung, ask = seen.nearest
    return {"memory": rung, "batch_size": ask.batch, "width": ask.width, "height": ask.height}


def _expected_seconds(services: Services, request: Txt2ImgRequest, model: str) -> tuple[float | None, int]:
    """Seconds for each pixel and step of jobs that were like this one, times its own."""
    width, height = expected_size(request, services.defaults.size)
    pixels = width * height * request.batch_size
    sampler = names.resolve(request.sampler, request.scheduler).sampler_label
    done = services.queue.list((State.DONE,), limit=LOOKED_AT, newest_first=True, whole=False)
    drawn = (job for job in done if job.pictures and job.request.kind == Txt2ImgRequest.__name__)
    found = [_Drawn(job, job.pictures[0].info) for job in drawn]
    like = [each for each in found if each.is_like(request, model, pixels, services)]
    like = [each for each in like if each.info.sampler == sampler] or like
    like = sorted(like, key=lambda each: each.distance(pixels))[:BELIEVED]
    if not like:
        return None, 0
    first = expected_size(replace(request, hires=None), services.defaults.size)
    again = 0 if request.hires is None else request.hires.steps or request.steps
    strength = None if request.init is None else request.init.denoising_strength
    work = request.batch_size * _work(first, request.steps * _share(strength), (width, height), again)
    rest = statistics.median(each.rest for each in like) * pixels
    return statistics.median(each.sample for each in like) * work + rest, len(like)


def _work(first: tuple[int, int], steps: float, last: tuple[int, int], again: float) -> float:
    """Pixels times steps of one picture: of a first pass, and of a second one if it has steps.

    >>> _work((8, 8), 10, (16, 16), 5)
    1920
    """
    return first[0] * first[1] * steps + last[0] * last[1] * again


@dataclass(frozen=True)
class _Drawn:
    """A done job, as a measurement."""

    job: Job
    info: ImageInfo

    @property
    def pixels(self) -> int:
        return self.info.width * self.info.height * len(self.job.pictures)

    @property
    def sample(self) -> float:
        """Seconds of sampling, for each pixel and step."""
        info, size = self.info, (self.info.width, self.info.height)
        again = 0 if info.first_size is None else int(info.extra.get("Hires steps", info.steps))
        work = _work(info.first_size or size, info.steps * _share(self.strength), size, again)
        return info.seconds.sample / (work * len(self.job.pictures))

    @property
    def strength(self) -> float | None:
        """How far from another picture it was drawn; None without one."""
        said = self.info.extra.get("Denoising strength")
        return None if said is None or self.info.first_size is not None else float(said)

    @property
    def rest(self) -> float:
        """Seconds of all else but loading, for each pixel."""
        return (self.info.seconds.encode + self.info.seconds.decode) / self.pixels

    def distance(self, pixels: int) -> float:
        """How many times smaller or larger."""
        return max(self.pixels / pixels, pixels / self.pixels)

    def is_like(self, request: Txt2ImgRequest, model: str, pixels: int, services: Services) -> bool:
        same = (self.job.model or services.defaults.model) == model
        return same and (self.strength is None) == (request.init is None) and self.distance(pixels) <= LIKE


def _share(strength: float | None) -> float:
    """The share of the steps that is drawn; at least one of a hundred."""
    return 1.0 if strength is None else max(0.01, strength)

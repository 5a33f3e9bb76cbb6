"""From a job to pictures: encode, sample, decode; each stage timed and checked for finite values."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sfumato.engine import beside, masks, passes, source
from sfumato.engine.conditioning import Conditioning, EncodingCache, track
from sfumato.engine.residency import Residency
from sfumato.engine.resolve import Job
from sfumato.families.base import Networks
from sfumato.families.decode import decode
from sfumato.prompt.compose import plan, plan_negative
from sfumato.request import InitImage, ResumePoint, StepEvent
from sfumato.runtime.finite import check_finite
from sfumato.runtime.rng import BatchNoise
from sfumato.runtime.seamless import around, seamless
from sfumato.sampling.denoiser import wrap
from sfumato.sampling.guidance import combine, rescale
from sfumato.sampling.integrate import Step, StepNoise, integrate
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.schedules import sigmas_for
from sfumato.sampling.solvers import make

_log = logging.getLogger(__name__)
OnStep = Callable[[StepEvent], None]
#: The draw that the second pass and noise under a mask start from; a solver's own draws count from 0.
_START_DRAW = 2**31


class GuidedNetwork:
    """The UNet with its words: (B, C, h, w) and times to the guided prediction, in float32.

    ``step`` says which of the sampler's steps it is in; the caller moves it on. All encodings of one length go
    through the UNet as one batch. ``beside`` (1, C', h, w) are the channels that the UNet takes after the latent's.
    With an ``image_scale`` a third prediction, without the picture beside, says how near to it to stay (Brooks et al.
    2023, "InstructPix2Pix", equation 3).
    """

    def __init__(
        self,
        networks: Networks,
        conditioning: Conditioning,
        scale: float,
        image_scale: float | None = None,
        phi: float = 0.0,
    ) -> None:
        """``phi``: see :func:`sfumato.sampling.guidance.rescale`."""
        self.step = 0
        self.beside: Tensor | None = None
        self._networks, self._conditioning, self._scale = networks, conditioning, scale
        self._image_scale, self._phi = image_scale, phi

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        outputs: dict[int, Tensor] = {}
        for which, words in self._conditioning.groups(self.step):
            count = len(which)
            given = self._joined(x).repeat(count, 1, 1, 1)
            out = self._networks.predict(given, t.repeat(count), words.repeated(len(x))).float()
            outputs.update(zip(which, out.chunk(count), strict=True))
        weights = [track.weight for track in self._conditioning.positive]
        parts = [outputs[k] for k in range(1, len(weights) + 1)]
        guided = combine(parts, weights, outputs.get(0), self._scale)
        if self._image_scale is not None and self._conditioning.negative is not None:
            words = self._conditioning.negative.at(self.step).repeated(len(x))
            without = self._networks.predict(self._joined(x, 0.0), t, words).float()
            guided = guided + (self._image_scale - 1) * (outputs[0] - without)
        if not self._phi:
            return guided
        return rescale(guided, combine(parts, weights, outputs.get(0), 1.0), self._phi)

    def _joined(self, x: Tensor, share: float = 1.0) -> Tensor:
        if self.beside is None:
            return x
        return torch.cat([x, (self.beside * share).expand(len(x), -1, -1, -1)], dim=1)


class Stopwatch:
    """Seconds by stage: ``lap("encode")`` gives the stage the time since the last lap."""

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start


def condition(job: Job, cache: EncodingCache) -> Conditioning:
    """Encode the job's prompts; without guidance (scale 1, one prompt) the negative one is not needed."""
    request = job.request
    positive = tuple(track(part, cache, request.clip_skip) for part in plan(request.prompt, request.steps).parts)
    guided = job.cfg_scale * positive[0].weight != 1 or len(positive) > 1 or job.image_cfg_scale is not None
    unwanted = plan_negative(request.negative_prompt, request.steps)
    negative = track(unwanted, cache, request.clip_skip, negative=True) if guided else None
    for one in (*positive, *([negative] if negative else [])):
        for _, encoding in one.spans:
            for part in encoding.parts().values():
                check_finite(part, "text encoding", None)
    return Conditioning(positive, negative)


@dataclass
class Sampler:
    """Everything that sampling needs but the latents; both passes of a large picture go through it.

    Each pass is a leg of the way; those before the resume point are not gone again. ``part`` is what of a picture is
    drawn.
    """

    job: Job
    networks: Networks
    network: GuidedNetwork
    schedule: NoiseSchedule
    on_step: OnStep | None
    resume: ResumePoint | None = None
    part: masks.Part | None = None
    held: source.Held | None = field(default=None, init=False)
    total: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    began: float = field(default=0.0, init=False)

    def run(self) -> Tensor:
        """The finished latents (B, C, h, w) in float32."""
        job, spec, steps = self.job, self.networks.spec, self.job.request.steps
        sigmas = sigmas_for(job.sampler.sampler, job.sampler.scheduler, self.schedule, steps)
        if job.request.init is not None:
            return self._from_picture(job.request.init, sigmas)
        first = passes.first_size(job.width, job.height, spec)
        tail = passes.tail_start(steps, spec) if first else steps
        self.total, self.done, self.began = 2 * steps - tail, 0, time.perf_counter()
        noise = self._noise(*(first or (job.width, job.height)))
        start = float((sigmas[0] ** 2 + 1) ** 0.5)
        x = self._leg(0, lambda: noise.initial() * start, sigmas, noise, 0)
        if first is None:
            return x
        again = passes.SecondNoise(self._noise(job.width, job.height))

        def enlarged() -> Tensor:
            latent = passes.enlarge(self.networks, x, job.width, job.height)
            return latent + again.at(tail)(_START_DRAW) * float(sigmas[tail])

        return self._leg(1, enlarged, sigmas[tail:], again, tail)

    def _from_picture(self, init: InitImage, sigmas: Tensor) -> Tensor:
        job, steps = self.job, self.job.request.steps
        first = source.first_step(steps, init.denoising_strength)
        self.total, self.done, self.began = steps - first, 0, time.perf_counter()
        noise = self._noise(job.width, job.height)
        if self.part is not None and self.networks.spec.beside != "inpaint":
            self.held = source.hold(self.networks, self.part)

        def begin() -> Tensor:
            if self.networks.spec.beside and init.denoising_strength == 1:
                return noise.initial() * float((sigmas[first] ** 2 + 1) ** 0.5)
            return self._start(init, noise) + noise.initial() * float(sigmas[first])

        return self._leg(0, begin, sigmas[first:], noise, first)

    def _start(self, init: InitImage, noise: BatchNoise) -> Tensor:
        """The clean latents that drawing starts from: (B or 1, C, h, w)."""
        if self.part is None or init.mask is None:
            return source.to_latent(self.networks, init, self.job.width, self.job.height)
        held = self.held or source.hold(self.networks, self.part)
        return source.fill(self.networks, self.part, held, init.mask.fill, noise.at(0)(_START_DRAW))

    def _noise(self, width: int, height: int) -> BatchNoise:
        spec = self.networks.spec
        shape = (spec.latent_channels, height // spec.latent_factor, width // spec.latent_factor)
        return BatchNoise(self.job.seeds, shape, self.networks.device, self.job.start(spec.latent_factor))

    def _leg(self, leg: int, begin: Callable[[], Tensor], sigmas: Tensor, noise: StepNoise, first_step: int) -> Tensor:
        """One sampling, from what ``begin`` gives or from the resume point; ``first_step`` is its place in the plan."""
        point = self.resume
        if point is not None and point.leg > leg:
            self.done += len(sigmas) - 1
            return point.latent
        if point is not None and point.leg == leg:
            device = self.networks.device
            x, state, start = point.latent.to(device), tuple(each.to(device) for each in point.state), point.step
        else:
            x, state, start = begin(), None, 0
        cells = x.shape[-2], x.shape[-1]
        self.network.beside = beside.channels(self.networks, self.job.request.init, self.part, cells)
        denoise = wrap(self.network, self.networks.spec.prediction, self.schedule)
        denoise = denoise if self.held is None else self.held.over(denoise)
        solver = make(self.job.sampler.sampler, self.job.request.eta, self.schedule)
        self.network.step, self.done = first_step + start, self.done + start
        for step in integrate(solver, denoise, x, sigmas, noise, start=start, state=state):
            x = step.x
            self.network.step = first_step + step.index + 1
            self.done += 1
            self._tell(leg, step)
        return x

    def _tell(self, leg: int, step: Step) -> None:
        if self.on_step is None:
            return
        seconds = time.perf_counter() - self.began
        point = ResumePoint(leg=leg, step=step.index + 1, latent=step.x, state=step.state)
        look = functools.partial(preview, self.networks, step.x0)
        self.on_step(StepEvent(step=self.done, steps=self.total, seconds=seconds, resume=point, preview=look))


#: The longer side of a preview, in pixels.
PREVIEW_SIDE = 128


def preview(networks: Networks, x0: Tensor) -> Image.Image:
    """The first of clean latents (B, C, h, w), shrunken before it is decoded, so that it costs a part of a step."""
    cells = max(1, PREVIEW_SIDE // networks.spec.latent_factor)
    scale = min(1.0, cells / max(x0.shape[-2:]))
    height, width = (max(1, round(side * scale)) for side in x0.shape[-2:])
    small = x0[:1] if scale == 1 else F.interpolate(x0[:1], (height, width), mode="area")
    return _to_image(decode(networks, small)[0])


def to_images(networks: Networks, latent: Tensor, tile: int = 0, wrap: bool = False) -> tuple[Image.Image, ...]:
    """Decode one picture at a time, so that memory does not grow with the batch; in tiles if there is to be less.

    ``wrap``: tiles see beyond the picture's edges what lies at the other ones.
    """
    margin = tile // 4 if wrap and max(latent.shape[2:]) > tile else 0
    edge = margin * networks.spec.latent_factor
    found = (_pixels(networks, around(one, margin, margin), tile)[0] for one in latent.split(1))
    return tuple(_to_image(one[:, edge : one.shape[1] - edge, edge : one.shape[2] - edge]) for one in found)


def _pixels(networks: Networks, latent: Tensor, tile: int) -> Tensor:
    """Finite pixels. An autoencoder that overflows in half precision is in float32 from then on."""
    pixels = decode(networks, latent, tile)
    if networks.vae.dtype is not torch.float32 and not torch.isfinite(pixels).all():
        _log.warning("the autoencoder overflowed in %s; the picture is decoded again in float32", networks.vae.dtype)
        networks.vae.to(torch.float32)
        pixels = decode(networks, latent, tile)
    check_finite(pixels, "decode", None)
    return pixels


def _to_image(pixels: Tensor) -> Image.Image:
    """(3, H, W) in 0..1 to an 8-bit picture."""
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).cpu().numpy()))


def draw(
    job: Job,
    networks: Networks,
    cache: EncodingCache,
    schedule: NoiseSchedule,
    on_step: OnStep | None,
    watch: Stopwatch,
    resume: ResumePoint | None = None,
    residency: Residency | None = None,
) -> Sequence[Image.Image]:
    """All pictures of a job, in the order of their seeds.

    ``resume`` is where an earlier drawing of it stood; ``residency`` says what leaves memory on the way.
    """

    def done(stage: str) -> None:
        watch.lap(stage)
        if residency is not None:
            residency.done(stage)

    with torch.inference_mode(), seamless(*([networks.unet, networks.vae] if job.request.tiling else [])):
        conditioning = condition(job, cache)
        done("encode")
        phi = job.request.guidance_rescale
        network = GuidedNetwork(networks, conditioning, job.cfg_scale, job.image_cfg_scale, phi)
        part = source.part_of(job.request, job.width, job.height)
        latent = Sampler(job, networks, network, schedule, on_step, resume, part).run()
        done("sample")
        images = to_images(networks, latent, residency.tile if residency is not None else 0, job.request.tiling)
        images = images if part is None else tuple(part.put_back(each) for each in images)
        done("decode")
    return images

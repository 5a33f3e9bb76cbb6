"""From a job to pictures: encode, sample, decode; each stage timed and checked for finite values."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from PIL import Image
from torch import Tensor

from sfumato.engine import beside, source
from sfumato.engine.conditioning import Conditioning, EncodingCache, track
from sfumato.engine.enlarge import SecondNoise, Upscale, enlarge
from sfumato.engine.passes import SecondPass
from sfumato.engine.previews import preview
from sfumato.engine.refine import Refiner, switched
from sfumato.engine.residency import Residency
from sfumato.engine.resolve import Job
from sfumato.families.base import Networks
from sfumato.families.decode import decode
from sfumato.families.pixels import to_image
from sfumato.imaging import masks
from sfumato.prompt.compose import plan, plan_negative
from sfumato.request import InitImage, ResumePoint, StepEvent
from sfumato.runtime.finite import check_finite
from sfumato.runtime.rng import BatchNoise
from sfumato.runtime.seamless import around, seamless
from sfumato.sampling.denoiser import Denoise, wrap
from sfumato.sampling.guidance import combine, rescale
from sfumato.sampling.integrate import Step, StepNoise, integrate
from sfumato.sampling.names import Resolved
from sfumato.sampling.noise_schedule import NoiseSchedule
from sfumato.sampling.schedules import sigmas_for
from sfumato.sampling.solvers import make

_log = logging.getLogger(__name__)
OnStep = Callable[[StepEvent], None]
#: The draw that noise under a mask starts from; a solver's own draws count from 0.
_START_DRAW = 2**31


class GuidedNetwork:
    """The UNet with its words: (B, C, h, w) and times to the guided prediction, in float32.

    ``step`` says which of the sampler's steps it is in; the caller moves it on. All encodings of one length go
    through the UNet as one batch; an encoding is of one text for all B pictures, or of B, one for each. ``beside``
    (1, C', h, w) are the channels that the UNet takes after the latent's. With an ``image_scale`` a third prediction,
    without the picture beside, says how near to it to stay (Brooks et al. 2023, "InstructPix2Pix", equation 3).
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
            words = words.repeated(len(given) // len(words.context))
            out = self._networks.predict(given, t.repeat(count), words).float()
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


def condition(job: Job, cache: EncodingCache, second: SecondPass | None = None) -> Conditioning:
    """Encode the job's prompts, or those of its second pass; without guidance (scale 1, one prompt) the negative one
    is not needed.
    """
    request, steps, scale = job.request, job.request.steps, job.cfg_scale
    prompt, unwanted, again = request.prompt, request.negative_prompt, None
    if second is not None:
        scale, again = second.cfg_scale, second.steps
        prompt = prompt if second.wish.prompt is None else second.wish.prompt
        unwanted = unwanted if second.wish.negative_prompt is None else second.wish.negative_prompt
    positive = tuple(track(part, cache, request.clip_skip) for part in plan(prompt, steps, again).parts)
    guided = scale * positive[0].weight != 1 or len(positive) > 1 or job.image_cfg_scale is not None
    negative = track(plan_negative(unwanted, steps, again), cache, request.clip_skip, negative=True) if guided else None
    for one in (*positive, *([negative] if negative else [])):
        for _, encoding in one.spans:
            for part in encoding.parts().values():
                check_finite(part, "text encoding", None)
    return Conditioning(positive, negative)


def _guided(job: Job, networks: Networks, cache: EncodingCache, second: SecondPass | None = None) -> GuidedNetwork:
    """The network with the job's words, or with those of its second pass."""
    scale = job.cfg_scale if second is None else second.cfg_scale
    words = condition(job, cache, second)
    image_scale = job.image_cfg_scale if networks.spec.beside == "edit" else None
    return GuidedNetwork(networks, words, scale, image_scale, job.request.guidance_rescale)


@dataclass(frozen=True)
class Leg:
    """One sampling of those that a picture takes: ``number`` from 0, and where in the prompts' plan it begins."""

    number: int
    network: GuidedNetwork
    sampler: Resolved
    sigmas: Tensor
    noise: StepNoise
    first_step: int = 0
    refined: GuidedNetwork | None = None

    def at(self, step: int) -> None:
        """Have the networks know which of the steps they are in."""
        for network in filter(None, (self.network, self.refined)):
            network.step = self.first_step + step


@dataclass
class Sampler:
    """Everything that sampling needs but the latents; both passes of a large picture go through it.

    Each pass is a leg of the way; those before the resume point are not gone again. ``second`` is the network with the
    second pass's words, ``upscale`` what enlarges pixels for it; ``part`` is what of a picture is drawn, at the size
    that it ends with. ``refined`` is the ``refiner``'s network with the words of the last pass, which it ends.
    """

    job: Job
    networks: Networks
    network: GuidedNetwork
    schedule: NoiseSchedule
    on_step: OnStep | None
    resume: ResumePoint | None = None
    second: GuidedNetwork | None = None
    upscale: Upscale | None = None
    part: masks.Part | None = None
    refiner: Refiner | None = None
    refined: GuidedNetwork | None = None
    held: source.Held | None = field(default=None, init=False)
    total: int = field(default=0, init=False)
    done: int = field(default=0, init=False)
    began: float = field(default=0.0, init=False)

    def run(self) -> Tensor:
        """The finished latents (B, C, h, w) in float32."""
        job, second = self.job, self.job.second
        sigmas = sigmas_for(job.sampler.sampler, job.sampler.scheduler, self.schedule, job.request.steps)
        init, noise = job.request.init, self._noise(job.width, job.height)
        leg, begin = self._from_words(sigmas, noise) if init is None else self._from_picture(init, sigmas, noise)
        self.total, self.done = len(leg.sigmas) - 1 + (0 if second is None else second.steps), 0
        self.began = time.perf_counter()
        if second is None:
            return self._go(replace(leg, refined=self.refined), begin)
        return self._refine(second, self._go(leg, begin))

    def _from_words(self, sigmas: Tensor, noise: BatchNoise) -> tuple[Leg, Callable[[], Tensor]]:
        """The first leg where there is nothing but noise, and what gives its start."""
        start = float((sigmas[0] ** 2 + 1) ** 0.5)
        return Leg(0, self.network, self.job.sampler, sigmas, noise), lambda: noise.initial() * start

    def _refine(self, second: SecondPass, x: Tensor) -> Tensor:
        """The second pass, from the first one's latents."""
        chosen, noise = second.sampler, SecondNoise(self._noise(second.width, second.height))
        sigmas = sigmas_for(chosen.sampler, chosen.scheduler, self.schedule, second.planned)[-second.steps - 1 :]
        self._hold(self.part)

        def begin() -> Tensor:
            latent = enlarge(self.networks, x, second, self.upscale)
            return latent + noise.initial() * float(sigmas[0])

        return self._go(Leg(1, self.second or self.network, chosen, sigmas, noise, refined=self.refined), begin)

    def _from_picture(self, init: InitImage, sigmas: Tensor, noise: BatchNoise) -> tuple[Leg, Callable[[], Tensor]]:
        """As :meth:`_from_words`, where there is a picture to start from."""
        first = source.first_step(self.job.request.steps, init.denoising_strength)
        part = None if self.part is None else replace(self.part, size=(self.job.width, self.job.height))
        self._hold(part)

        def begin() -> Tensor:
            if self.networks.spec.beside and init.denoising_strength == 1:
                return noise.initial() * float((sigmas[first] ** 2 + 1) ** 0.5)
            return self._start(init, part, noise) + noise.initial() * float(sigmas[first])

        return Leg(0, self.network, self.job.sampler, sigmas[first:], noise, first), begin

    def _hold(self, part: masks.Part | None) -> None:
        """Keep what the mask leaves of the picture, at the size that the next leg draws it."""
        if part is not None and self.networks.spec.beside != "inpaint":
            self.held = source.hold(self.networks, part)

    def _start(self, init: InitImage, part: masks.Part | None, noise: BatchNoise) -> Tensor:
        """The clean latents that drawing starts from: (B or 1, C, h, w)."""
        if part is None or init.mask is None:
            return source.to_latent(self.networks, init, self.job.width, self.job.height, self.job.size)
        held = self.held or source.hold(self.networks, part)
        return source.fill(self.networks, part, held, init.mask.fill, noise.at(0)(_START_DRAW))

    def _noise(self, width: int, height: int) -> BatchNoise:
        spec = self.networks.spec
        shape = (spec.latent_channels, height // spec.latent_factor, width // spec.latent_factor)
        return BatchNoise(self.job.seeds, shape, self.networks.device, self.job.start(spec.latent_factor))

    def _go(self, leg: Leg, begin: Callable[[], Tensor]) -> Tensor:
        """One sampling, from what ``begin`` gives or from the resume point."""
        point = self.resume
        if point is not None and point.leg > leg.number:
            self.done += len(leg.sigmas) - 1
            return point.latent
        if point is not None and point.leg == leg.number:
            device = self.networks.device
            x, state, start = point.latent.to(device), tuple(each.to(device) for each in point.state), point.step
        else:
            x, state, start = begin(), None, 0
        cells = x.shape[-2], x.shape[-1]
        leg.network.beside = beside.channels(self.networks, self.job.request.init, self.part, cells)
        denoise = self._denoiser(leg)
        denoise = denoise if self.held is None else self.held.over(denoise)
        solver = make(leg.sampler.sampler, self.job.request.eta, self.schedule)
        leg.at(start)
        self.done += start
        for step in integrate(solver, denoise, x, leg.sigmas, leg.noise, start=start, state=state):
            x = step.x
            leg.at(step.index + 1)
            self.done += 1
            self._tell(leg, step)
        return x

    def _denoiser(self, leg: Leg) -> Denoise:
        """The leg's network, and the refiner's after it if there is one."""
        own = wrap(leg.network, self.networks.spec.prediction, self.schedule)
        refiner = self.refiner
        if refiner is None or leg.refined is None:
            return own
        then = wrap(leg.refined, refiner.model.networks.spec.prediction, refiner.model.schedule)
        return switched(own, then, self.schedule, refiner.switch_at)

    def _tell(self, leg: Leg, step: Step) -> None:
        if self.on_step is None:
            return
        seconds = time.perf_counter() - self.began
        point = ResumePoint(leg=leg.number, step=step.index + 1, latent=step.x, state=step.state)
        look = functools.partial(preview, self.networks, step.x0)
        self.on_step(StepEvent(step=self.done, steps=self.total, seconds=seconds, resume=point, preview=look))


def to_images(networks: Networks, latent: Tensor, tile: int = 0, wrap: bool = False) -> tuple[Image.Image, ...]:
    """Decode one picture at a time, so that memory does not grow with the batch; in tiles if there is to be less.

    ``wrap``: tiles see beyond the picture's edges what lies at the other ones.
    """
    margin = tile // 4 if wrap and max(latent.shape[2:]) > tile else 0
    edge = margin * networks.spec.latent_factor
    found = (_pixels(networks, around(one, margin, margin), tile)[0] for one in latent.split(1))
    return tuple(to_image(one[:, edge : one.shape[1] - edge, edge : one.shape[2] - edge]) for one in found)


def _pixels(networks: Networks, latent: Tensor, tile: int) -> Tensor:
    """Finite pixels. An autoencoder that overflows in half precision is in float32 from then on."""
    pixels = decode(networks, latent, tile)
    if networks.vae.dtype is not torch.float32 and not torch.isfinite(pixels).all():
        _log.warning("the autoencoder overflowed in %s; the picture is decoded again in float32", networks.vae.dtype)
        networks.vae.to(torch.float32)
        pixels = decode(networks, latent, tile)
    check_finite(pixels, "decode", None)
    return pixels


def draw(
    job: Job,
    networks: Networks,
    cache: EncodingCache,
    schedule: NoiseSchedule,
    on_step: OnStep | None,
    watch: Stopwatch,
    resume: ResumePoint | None = None,
    upscale: Upscale | None = None,
    residency: Residency | None = None,
    refiner: Refiner | None = None,
) -> Sequence[Image.Image]:
    """All pictures of a job, in the order of their seeds.

    ``resume`` is where an earlier drawing of it stood; ``residency`` says what leaves memory on the way; ``upscale``
    enlarges pixels for the second pass, if it goes through them; ``refiner`` draws the last steps.
    """

    def done(stage: str) -> None:
        watch.lap(stage)
        for each in (residency, refiner and refiner.model.residency):
            if each is not None:
                each.done(stage)

    unets = [networks.unet] if refiner is None else [networks.unet, refiner.model.networks.unet]
    with torch.inference_mode(), seamless(*([*unets, networks.vae] if job.request.tiling else [])):
        network = _guided(job, networks, cache)
        second = None if job.second is None else _guided(job, networks, cache, job.second)
        refined = None if refiner is None else _guided(job, refiner.model.networks, refiner.model.cache, job.second)
        done("encode")
        part = source.part_of(job.request, *job.size)
        sampler = Sampler(job, networks, network, schedule, on_step, resume, second, upscale, part, refiner, refined)
        latent = sampler.run()
        done("sample")
        images = to_images(networks, latent, residency.tile if residency is not None else 0, job.request.tiling)
        images = images if part is None else tuple(part.put_back(each) for each in images)
        done("decode")
    return images

"""A studio keeps one model loaded and draws what it is asked, one request at a time."""

from __future__ import annotations

import functools
import logging
import secrets
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from sfumato.engine import loading, passes, previews, source, varied
from sfumato.engine.draw import OnStep, Stopwatch, draw
from sfumato.engine.loading import LoadedModel
from sfumato.engine.refine import Refiner, check_fit
from sfumato.engine.resolve import SEED_BITS, Job, resolve
from sfumato.engine.upscale import Upscalers, enlarged, info_of
from sfumato.errors import OutOfMemoryError, RequestError
from sfumato.families import adapters, models_folder, registry
from sfumato.families.adapters import Wish
from sfumato.imaging.outpaint import extended
from sfumato.prompt import dynamic
from sfumato.prompt.networks import NetworkTag, take_networks
from sfumato.request import (
    Hires,
    ImageInfo,
    Result,
    ResumePoint,
    Seconds,
    StepEvent,
    Txt2ImgRequest,
    UpscaleRequest,
    expected_size,
)
from sfumato.runtime import formats, memory
from sfumato.runtime.device import DeviceFacts, probe, quick
from sfumato.runtime.plan import Ask, Plan, Sizes, check_wish, step_down
from sfumato.runtime.plan import plan as make_plan
from sfumato.runtime.precision import choose
from sfumato.runtime.threads import set_threads
from sfumato.weights.digest import model_hash, model_stamp, network_hash
from sfumato.weights.sizes import sizes_of

_log = logging.getLogger(__name__)
BUILT_IN = "stable-universe"


class Studio:
    """Words to pictures on one device, with the model kept between requests.

    >>> from sfumato import Studio, Txt2ImgRequest
    >>> studio = Studio()
    >>> result = studio.generate(Txt2ImgRequest(prompt="a cat", steps=2, width=64, height=64, seed=0))
    >>> result.images[0].size
    (64, 64)

    Args:
        model: a name in ``models_folders``, the built-in ``"stable-universe"``, or a path.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"mps"`` or ``"xpu"``.
        precision: ``"autocast"`` (half precision where the device is good at it), ``"full"``, ``"half"``, ``"bf16"``,
            ``"int8"``.
        memory: ``"auto"``, ``"max_speed"``, ``"balanced"``, ``"low"`` or ``"minimal"``: see
            :mod:`sfumato.runtime.plan`.
        threads: processor threads, or None for as many as there are cores.
        models_folders: where checkpoints lie.
        vae: another autoencoder than the model's, large or tiny: a name in their ``vae`` folders, or a path.
        text_encoder: likewise CLIP's text encoders, with a comma between two.
        allow_partial: leave out what fits only in part, with a warning, where it would be an error.

    Raises:
        DeviceError: the device or the precision is not there. A missing model is found at the first request.
    """

    def __init__(
        self,
        model: str | Path = BUILT_IN,
        *,
        device: str = "auto",
        precision: str = "autocast",
        memory: str = "auto",
        threads: int | None = None,
        models_folders: Sequence[Path] = (Path("models"),),
        vae: str = "",
        text_encoder: str = "",
        allow_partial: bool = False,
    ) -> None:
        set_threads(threads)
        self.model = model
        self.facts: DeviceFacts = probe(device)
        self._precision = choose(precision, self.facts)
        self._formats = formats.choose(precision, self.facts.kind, self.facts.bf16, self.facts.fp16)
        self._memory = check_wish(memory)
        self._folders = tuple(models_folders)
        self._own_vae = self._vae = vae
        self._text_encoder, self._partial = text_encoder, allow_partial
        self._second = functools.partial(
            Studio,
            device=device,
            precision=precision,
            memory=memory,
            threads=threads,
            models_folders=models_folders,
            allow_partial=allow_partial,
        )
        self._refiner: Studio | None = None
        self._upscalers = Upscalers(self._folders, self.facts.kind)
        self._loaded: LoadedModel | None = None
        self._hashing = ThreadPoolExecutor(1, "hash")
        self._sizes: Sizes | None = None
        self._files: tuple[object, ...] = ()
        self._used: Plan | None = None
        self._lock = threading.Lock()

    def generate(
        self, request: Txt2ImgRequest, on_step: OnStep | None = None, resume: ResumePoint | None = None
    ) -> Result:
        """Draw one batch. ``on_step`` is called after each sampling step; what it raises ends the batch. ``resume`` is
        the point of a step event, of the same request with its seed, to go on from.

        Raises:
            RequestError: the request can't be drawn. CheckpointError: the model can't be loaded.
            NumericError: a stage gave NaN or infinity; there is no picture then.
            OutOfMemoryError: the picture needs more memory than there is.
        """
        with self._lock:
            self._notice_changed_files()
            while True:
                try:
                    return self._generate(request, on_step, resume)
                except OutOfMemoryError as error:
                    lower = step_down(self._used.rung) if self._used else None
                    if lower is None:
                        raise
                    _log.warning("%s; drawn again with --memory %s", error, lower)
                    self._memory, self._used = lower, None

    def _generate(self, request: Txt2ImgRequest, on_step: OnStep | None, resume: ResumePoint | None) -> Result:
        memory.reset_peak()
        watch = Stopwatch()
        request, template = self._choose(request)
        request = extended(request)
        plain, wishes = self._take_wishes(request)
        upscale = self._upscalers.find(passes.UPSCALER if request.hires is None else request.hires.upscaler)
        self._open_refiner(request.refiner)
        self._change_vae(request.vae)
        first = None  # what can't fit is refused before anything is loaded
        if self._loaded is None or self._refiner is not None:
            first = self.plan(*expected_size(request), request.batch_size, request.refiner)
        model = self.load(first)
        job = resolve(plain, model.networks.spec)
        plan = self.plan(*job.size, len(job.seeds), request.refiner)
        if model.streamed != plan.streamed:
            del model
            model = self.load(plan)
        self._used = plan
        model.residency.follow(plan)
        tags = {**self._use(model, wishes), **template}
        refiner = self._load_refiner(request, model, plan)
        watch.lap("load")
        with memory.worded_exhaustion(_describe(job)):
            images = draw(
                job,
                model.networks,
                model.cache,
                model.schedule,
                on_step,
                watch,
                resume,
                upscale,
                model.residency,
                refiner,
            )
        tags |= {**({"VAE": Path(self._vae).stem} if self._vae else {}), **self._describe_refiner(request)}
        seconds = Seconds(**watch.seconds, total=watch.total)
        infos = tuple(self._info(request, job, model, k, seconds, tags) for k in range(len(job.seeds)))
        return Result(images=tuple(images), infos=infos)

    def upscale(self, request: UpscaleRequest, on_step: OnStep | None = None) -> Result:
        """Make one picture larger; the model is not loaded for it. ``on_step`` is called after each of the network's
        tiles; what it raises ends it.

        Raises:
            RequestError: there is no such upscaler, or too much would be made. CheckpointError: its file can't be used.
            NumericError: the network gave NaN or infinity. OutOfMemoryError: there is too little memory.
        """
        memory.reset_peak()
        watch = Stopwatch()

        def on_tile(done: int, of: int) -> None:
            if on_step is not None:
                on_step(StepEvent(step=done, steps=of, seconds=watch.total))

        with self._lock, memory.worded_exhaustion(f"a picture of {request.width}x{request.height}"):
            enlarge = self._upscalers.find(request.upscaler, on_tile)
            if enlarge is None:
                raise RequestError(f"{request.upscaler!r} is for second passes alone; take Lanczos or a network")
            large = enlarged(request, enlarge)
        info = info_of(request, large, self.facts.kind, watch.total, memory.peak_rss())
        return Result(images=(large,), infos=(info,))

    def plan(self, width: int, height: int, batch: int = 1, refiner: str | None = None) -> Plan:
        """How a picture of this size would be drawn, and in how much memory; nothing is loaded for it. ``refiner``
        names the second model, if there is one.

        Raises:
            OutOfMemoryError: it does not fit; the message says what does. CheckpointError: there is no such model.
        """
        if self._sizes is None:
            parts = self._parts()
            self._sizes = sizes_of(models_folder.find(self.model, self._folders), parts.vae, parts.texts)
        sizes = self._sizes
        if refiner is not None:
            sizes = sizes.beside(sizes_of(models_folder.find(refiner, self._folders)))
        facts = quick("cpu") if self.facts.kind == "cpu" else self.facts
        free = memory.room(facts.free_memory)
        return make_plan(sizes, Ask(width, height, batch), self._formats, free, self._memory, device=facts.kind)

    def load(self, plan: Plan | None = None) -> LoadedModel:
        """The model, loaded at the first call, and again where a plan wants its weights elsewhere. Without a plan it is
        loaded for one picture of the usual size.
        """
        if self._loaded is not None and plan is not None and self._loaded.streamed != plan.streamed:
            self._loaded = None
        if self._loaded is None:
            streamed = (plan or self.plan(*expected_size(Txt2ImgRequest(prompt="")))).streamed
            path, self._files = models_folder.find(self.model, self._folders), self._stamps()
            hashed = self._hashing.submit(model_hash, path)
            model = loading.load(path, self._parts(), self._precision, self.facts, hashed, streamed=streamed)
            previews.add_decoder(model.networks, self._folders, self._precision.vae_dtype)
            self._loaded = model
        return self._loaded

    def _parts(self) -> registry.Parts:
        """The files of the networks that were named beside the model."""
        vae = models_folder.find_parts(self._vae, "vae", self._folders)
        texts = models_folder.find_parts(self._text_encoder, "text_encoder", self._folders)
        return registry.Parts(next(iter(vae), None), texts, self._partial)

    def _change_vae(self, name: str | None) -> None:
        """Let go of the model if the request names another autoencoder than it was loaded with."""
        wanted = self._own_vae if name is None else name
        if wanted != self._vae:
            models_folder.find_parts(wanted, "vae", self._folders)
            self._vae, self._loaded, self._sizes = wanted, None, None

    def _notice_changed_files(self) -> None:
        """Let go of a model whose files are others by now: weights that stay in them would be those of two models."""
        if self._loaded is not None and self._stamps() != self._files:
            self._loaded = self._sizes = None

    def _stamps(self) -> tuple[object, ...]:
        """What says whether the model's files and those of the parts beside it are the same as before."""
        parts = self._parts()
        named = (models_folder.find(self.model, self._folders), parts.vae, *parts.texts)
        return tuple(model_stamp(path) for path in named if path is not None)

    def _open_refiner(self, name: str | None) -> None:
        """The studio of the second model, which is kept while requests name it."""
        if self._refiner is not None and self._refiner.model != name:
            self._refiner = None
        if name is not None and self._refiner is None:
            self._refiner = self._second(name)
        if self._refiner is not None:
            self._refiner._notice_changed_files()

    def _load_refiner(self, request: Txt2ImgRequest, model: LoadedModel, plan: Plan) -> Refiner | None:
        """The second model, if the request has one, in as much memory as the plan gives it."""
        if self._refiner is None:
            return None
        second = self._refiner.load(plan)
        check_fit(model.networks.spec, second.networks.spec, second.name)
        self._refiner._use(second, ())
        second.residency.follow(plan)
        return Refiner(second, request.refiner_switch_at)

    def _describe_refiner(self, request: Txt2ImgRequest) -> dict[str, object]:
        """What the metadata say of the second model, as the web UI does."""
        if self._refiner is None:
            return {}
        second = self._refiner.load()
        return {
            "Refiner": f"{second.name} [{second.hash.result()[:10]}]",
            "Refiner switch at": request.refiner_switch_at,
        }

    def _choose(self, request: Txt2ImgRequest) -> tuple[Txt2ImgRequest, dict[str, object]]:
        """The request with its prompts' choices made, and what the metadata say of them."""
        given = request.prompt, request.negative_prompt
        if not any("{" in text or "__" in text for text in given):
            return request, {}
        seed = secrets.randbits(SEED_BITS) if request.seed is None else request.seed
        files = dynamic.list_wildcards(dynamic.folders(self._folders))
        prompt, negative = (dynamic.choose(text, seed, files) for text in given)
        names = ("Template", "Negative Template")
        changed = zip(names, given, (prompt, negative), strict=True)
        said: dict[str, object] = {name: before for name, before, after in changed if before != after}
        return replace(request, prompt=prompt, negative_prompt=negative, seed=seed), said

    def _take_wishes(self, request: Txt2ImgRequest) -> tuple[Txt2ImgRequest, list[Wish]]:
        """The request without the tags in its prompts, and the LoRAs that they name."""
        prompt, tags = take_networks(request.prompt)
        negative, more = take_networks(request.negative_prompt)
        wishes = [Wish(adapters.find_lora(tag.name, self._folders), tag.unet, tag.text) for tag in (*tags, *more)]
        hires = _without_tags(request.hires, (*tags, *more))
        return replace(request, prompt=prompt, negative_prompt=negative, hires=hires), wishes

    def _use(self, model: LoadedModel, wishes: Sequence[Wish]) -> dict[str, object]:
        """Put the LoRAs on, and have the folders' embeddings at hand; what the metadata says of it."""
        words = models_folder.list_embeddings(self._folders)
        for reader in model.networks.readers:
            reader.know(words)
        with memory.worded_exhaustion("the LoRAs"):
            model.adapters.use(wishes)
        hashes = {wish.path.stem: network_hash(wish.path) for wish in wishes}
        return {"Lora hashes": ", ".join(f"{n}: {h}" for n, h in hashes.items())} if hashes else {}

    def _info(
        self,
        request: Txt2ImgRequest,
        job: Job,
        model: LoadedModel,
        number: int,
        seconds: Seconds,
        more: dict[str, object],
    ) -> ImageInfo:
        return ImageInfo(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            seed=job.seeds[number],
            width=job.size[0],
            height=job.size[1],
            first_size=(job.width, job.height) if job.second and request.init is None else None,
            steps=request.steps,
            sampler=job.sampler.sampler_label,
            scheduler=job.sampler.scheduler_label,
            cfg_scale=job.cfg_scale,
            clip_skip=request.clip_skip,
            eta=request.eta,
            model=model.name,
            model_hash=model.hash.result(),
            device=self.facts.kind,
            dtype=str(self._precision.dtype).removeprefix("torch."),
            seconds=seconds,
            peak_memory_bytes=memory.peak_rss(),
            forecast_memory_bytes=self._used.peak if self._used else 0,
            memory=self._used.rung if self._used else "",
            extra={**_describe_start(job), **varied.describe(job, number), **more},
        )


def _without_tags(hires: Hires | None, known: Sequence[NetworkTag]) -> Hires | None:
    """The second pass without the tags in its prompts, which may only be those of the first one's."""
    if hires is None:
        return None
    texts: dict[str, str] = {}
    for name in ("prompt", "negative_prompt"):
        if (text := getattr(hires, name)) is not None:
            texts[name], tags = take_networks(text)
            if unknown := [tag.name for tag in tags if tag not in known]:
                raise RequestError(f"hires {name}: LoRA {unknown[0]!r} is on in both passes or none; name it in prompt")
    return replace(hires, **texts)


def _describe_start(job: Job) -> dict[str, object]:
    if job.request.init is not None:
        image_scale = {} if job.image_cfg_scale is None else {"Image CFG scale": job.image_cfg_scale}
        return {**image_scale, **source.describe(job.request.init)}
    return {} if job.second is None else passes.describe(job.second, job.sampler)


def _describe(job: Job) -> str:
    size = "x".join(map(str, job.size))
    return f"a {size} picture" if len(job.seeds) == 1 else f"{len(job.seeds)} pictures of {size} at once"

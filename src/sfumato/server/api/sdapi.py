"""``/sdapi/v1``: drawing and its control, as clients of AUTOMATIC1111 1.10 expect it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, HTTPException, Request

import sfumato
from sfumato.errors import RequestError
from sfumato.gallery import infotext
from sfumato.imaging.masks import check as check_mask
from sfumato.prompt.networks import take_networks
from sfumato.request import MASK_FILLS, RESIZE_MODES, Hires, ImageInfo, InitImage, Mask, Txt2ImgRequest, nth_batch
from sfumato.sampling import names
from sfumato.server import images
from sfumato.server.api import sdapi_extra, sdapi_hires, sdapi_options
from sfumato.server.api.sdapi_schema import Drawing, Img2Img, Txt2Img
from sfumato.server.checks import check_request
from sfumato.server.failures import NotSupportedError
from sfumato.server.services import Chosen, Services, client_of
from sfumato.server.strict import Route
from sfumato.server.work import Drawn, Task, Tasks

#: Fields to the value that asks for nothing; another one asks for what this server does not do.
_IDLE: dict[str, tuple[object, ...]] = {
    "restore_faces": (None, False),
    "s_min_uncond": (None, 0),
    "s_churn": (None, 0),
    "s_tmin": (None, 0),
    "s_noise": (None, 1),
    "infotext": (None, ""),
    "firstphase_width": (None, 0),
    "firstphase_height": (None, 0),
    "hr_checkpoint_name": (None, "", "Use same checkpoint"),
    "latent_mask": (None, ""),
    "initial_noise_multiplier": (None, 1),
}
_SEED_BITS = 32


def routes(services: Services, tasks: Tasks) -> APIRouter:
    """The routes that draw, upscale and read."""
    router = APIRouter(prefix="/sdapi/v1", tags=["sdapi"], route_class=Route)

    async def draw(
        given: Drawing, request: Request, hires: Hires | None = None, init: InitImage | None = None
    ) -> dict[str, Any]:
        chosen = to_choice(given, services)
        wanted = [replace(each, hires=hires, init=init) for each in to_requests(given, chosen, services)]
        checked = [check_request(each, services) for each in wanted]
        if given.override_settings and given.override_settings_restore_afterwards is False:
            services.choice.change(**vars(chosen))
        drawn = await tasks.run(
            checked,
            model=chosen.model or services.defaults.model,
            save=bool(given.save_images),
            metadata=sdapi_options.metadata(chosen, services),
            client=client_of(request),
            gone=request.is_disconnected,
        )
        return await asyncio.to_thread(answer, given, drawn, chosen.format)

    @router.post("/txt2img")
    async def txt2img(given: Txt2Img, request: Request) -> dict[str, Any]:
        """Words to pictures."""
        refuse_unsupported(given)
        return await draw(given, request, hires=sdapi_hires.to_hires(given))

    @router.post("/img2img")
    async def img2img(given: Img2Img, request: Request) -> dict[str, Any]:
        """A picture and words to pictures."""
        refuse_unsupported(given)
        return await draw(given, request, init=await asyncio.to_thread(to_init, given, services))

    sdapi_extra.add(router, services, tasks)
    _control_routes(router, tasks)
    return router


def refuse_unsupported(given: Drawing) -> None:
    """Raises for what was asked and can't be done; nothing is left out in silence."""
    for name, idle in _IDLE.items():
        if (value := getattr(given, name, None)) not in idle:
            raise NotSupportedError(f"{name}={str(value)[:40]} is not supported by this server; leave it out.")
    if given.script_name:
        raise HTTPException(422, f"Script '{given.script_name}' not found")
    if given.alwayson_scripts:
        raise HTTPException(422, f"always on script {next(iter(given.alwayson_scripts))} not found")


def to_init(given: Img2Img, services: Services) -> InitImage:
    """The picture to start from."""
    if not given.init_images:
        raise HTTPException(404, "Init image not found")
    if len(given.init_images) > 1:
        raise NotSupportedError("Several init_images are not supported by this server; send one at a time.")
    mode, strength = _or(given.resize_mode, 0), _or(given.denoising_strength, 0.75)
    if not 0 <= mode < len(RESIZE_MODES) or not 0 <= strength <= 1:
        raise RequestError("resize_mode is 0 to 3, and denoising_strength 0 to 1.")
    picture = images.from_base64(given.init_images[0], services.limits.picture_pixels)
    mask = to_mask(given, services) if given.mask else None
    return InitImage(
        picture=picture,
        denoising_strength=strength,
        resize_mode=RESIZE_MODES[mode],
        mask=mask,
        image_cfg_scale=_or(given.image_cfg_scale, 1.5),
    )


def to_mask(given: Img2Img, services: Services) -> Mask:
    """The mask, read as the web UI does: by its transparency if it has any, and black or white unless ``mask_round`` is
    off.
    """
    picture = images.from_base64(given.mask or "", services.limits.picture_pixels)
    clear = picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)
    grey = picture.getchannel("A") if clear else picture.convert("L")
    if given.mask_round is not False:
        grey = grey.point([255 * (level > 128) for level in range(256)])
    blur = [_or(given.mask_blur, _or(each, 4)) for each in (given.mask_blur_x, given.mask_blur_y)]
    mask = Mask(
        picture=grey,
        blur=blur[0],
        blur_y=blur[1],
        invert=bool(given.inpainting_mask_invert),
        fill=MASK_FILLS[_or(given.inpainting_fill, 0)],
        only_masked=bool(_or(given.inpaint_full_res, True)),
        padding=_or(given.inpaint_full_res_padding, 0),
    )
    check_mask(mask)
    return mask


def to_choice(given: Drawing, services: Services) -> Chosen:
    """The options of now with those that the request has for itself."""
    chosen = sdapi_options.read_overrides(given.override_settings or {}, services)
    if given.save_images and chosen.format not in (None, services.defaults.format):
        raise RequestError(
            f"samples_format is {chosen.format}, and this server saves as {services.defaults.format} (output.format);"
            " leave out save_images or samples_format."
        )
    return chosen


def to_requests(given: Drawing, chosen: Chosen, services: Services) -> list[Txt2ImgRequest]:
    """A request for each iteration; seeds count up from one to the next."""
    size, batch = (_or(given.width, 512), _or(given.height, 512)), _or(given.batch_size, 1)
    steps, rounds = _or(given.steps, 50), _or(given.n_iter, 1)
    services.limits.check(steps=steps, width=size[0], height=size[1], batch=batch, iterations=rounds)
    if min(size) < 8:
        raise RequestError(f"size is {size[0]}x{size[1]}; give at least 8 pixels a side.")
    words = given.prompt or "", given.negative_prompt or ""
    if given.styles:
        if services.styles is None:
            raise NotSupportedError("This server keeps no styles; leave styles out.")
        words = services.styles.apply(given.styles, *words)
    if given.disable_extra_networks:
        words = take_networks(words[0])[0], take_networks(words[1])[0]
    sampler = given.sampler_name or given.sampler_index or "Euler"
    seed = secrets.randbits(_SEED_BITS) if given.seed in (None, -1) else given.seed
    first = Txt2ImgRequest(
        prompt=words[0],
        negative_prompt=words[1],
        width=size[0],
        height=size[1],
        steps=steps,
        sampler=sampler,
        scheduler=_scheduler(sampler, given.scheduler),
        cfg_scale=_or(given.cfg_scale, 7.0),
        batch_size=batch,
        clip_skip=chosen.clip_skip or services.defaults.clip_skip,
        eta=given.eta,
        vae=chosen.vae,
    )
    first = replace(first, seed=seed, **_varied(given), **_refined(given))
    return [nth_batch(first, k) for k in range(rounds)]


def _varied(given: Drawing) -> dict[str, Any]:
    """The fields of varied noise and of edges that fit; a variation's seed that is not given is drawn here."""
    strength, subseed = _or(given.subseed_strength, 0), _or(given.subseed, -1)
    if not 0 <= strength <= 1:
        raise RequestError(f"subseed_strength is {strength}; give 0 to 1.")
    if not -1 <= subseed < 2**63 - 1:
        raise RequestError(f"subseed is {subseed}; give -1 for a new one, or 0 and above.")
    sides = given.seed_resize_from_w, given.seed_resize_from_h
    wide, high = sides if all(side is not None and side > 0 for side in sides) else (None, None)
    return {
        "subseed": secrets.randbits(_SEED_BITS) if strength and subseed == -1 else None if subseed == -1 else subseed,
        "subseed_strength": strength,
        "seed_resize_from_w": wide,
        "seed_resize_from_h": high,
        "tiling": bool(given.tiling),
    }


def _refined(given: Drawing) -> dict[str, Any]:
    """The second model, if one is named and there are steps for it."""
    switch_at = _or(given.refiner_switch_at, 1.0)
    if not 0 <= switch_at <= 1:
        raise RequestError(f"refiner_switch_at is {switch_at}; give 0 to 1.")
    if given.refiner_checkpoint in (None, "", "None") or switch_at == 1:
        return {}
    return {"refiner": given.refiner_checkpoint, "refiner_switch_at": switch_at}


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _scheduler(sampler: str, scheduler: str | None) -> str | None:
    """The schedule to ask for; a sampler's name that ends in one ("DPM++ 2M Karras") goes before "Automatic"."""
    wanted = None if scheduler is None or scheduler.lower() == "automatic" else scheduler
    try:
        names.resolve(sampler)
    except RequestError as error:
        raise HTTPException(400, f"Sampler not found: {error}") from error
    names.resolve(sampler, wanted)
    return wanted


def answer(given: Drawing, drawn: Sequence[Drawn], format: str | None) -> dict[str, Any]:
    """Pictures in a format (None is their files'), an echo of the request, and the JSON text of how they were made."""
    echo = given.model_dump()
    if isinstance(given, Img2Img) and not given.include_init_images:
        echo |= {"init_images": None, "mask": None}
    sent = [] if given.send_images is False else [sdapi_options.sent(each, format) for each in drawn]
    return {"images": sent, "parameters": echo, "info": json.dumps(_info(given, [each.info for each in drawn]))}


def _info(given: Drawing, infos: Sequence[ImageInfo]) -> dict[str, Any]:
    first = infos[0]
    subseeds = [each.extra.get("Variation seed", _or(given.subseed, -1)) for each in infos]
    size = first.first_size or (first.width, first.height)
    return {
        "prompt": first.prompt,
        "all_prompts": [each.prompt for each in infos],
        "negative_prompt": first.negative_prompt,
        "all_negative_prompts": [each.negative_prompt for each in infos],
        "seed": first.seed,
        "all_seeds": [each.seed for each in infos],
        "subseed": subseeds[0],
        "all_subseeds": subseeds,
        "subseed_strength": _or(given.subseed_strength, 0),
        "width": size[0],
        "height": size[1],
        "sampler_name": first.sampler,
        "cfg_scale": first.cfg_scale,
        "steps": first.steps,
        "batch_size": _or(given.batch_size, 1),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": first.model,
        "sd_model_hash": first.model_hash,
        "sd_vae_name": first.extra.get("VAE"),
        "sd_vae_hash": None,
        "seed_resize_from_w": _or(given.seed_resize_from_w, -1),
        "seed_resize_from_h": _or(given.seed_resize_from_h, -1),
        "denoising_strength": first.extra.get("Denoising strength"),
        "extra_generation_params": {"Schedule type": first.scheduler, **first.extra},
        "index_of_first_image": 0,
        "infotexts": [infotext.write(each) for each in infos],
        "styles": given.styles or [],
        "job_timestamp": time.strftime("%Y%m%d%H%M%S"),
        "clip_skip": first.clip_skip,
        "is_using_inpainting_conditioning": False,
        "version": f"sfumato {sfumato.__version__}",
    }


def _control_routes(router: APIRouter, tasks: Tasks) -> None:
    @router.post("/interrupt")
    def interrupt() -> dict[str, Any]:
        """End what is being drawn for these clients."""
        tasks.interrupt()
        return {}

    @router.post("/skip")
    def skip() -> None:
        """End the iteration that is being drawn, and go on with the next."""
        tasks.skip()

    @router.get("/progress")
    def progress(skip_current_image: bool = False) -> dict[str, Any]:
        """How far the oldest call is."""
        task = tasks.open[0] if tasks.open else None
        return _idle() if task is None or not task.jobs else _progress(task, tasks, skip_current_image)


def _idle() -> dict[str, Any]:
    state = {
        "skipped": False, "interrupted": False, "stopping_generation": False, "job": "", "job_count": 0,
        "job_timestamp": "0", "job_no": 0, "sampling_step": 0, "sampling_steps": 0,
    }  # fmt: skip
    return {"progress": 0.0, "eta_relative": 0.0, "state": state, "current_image": None, "textinfo": None}


def _progress(task: Task, tasks: Tasks, without_image: bool) -> dict[str, Any]:
    idle, number, count = _idle(), task.number, len(task.jobs)
    now = tasks.look(task.jobs[number].id)
    share = (number + (now.step / now.steps if now.steps else 0.0)) / count
    spent = time.time() - task.began
    preview = None if without_image or now.preview is None else images.to_base64(now.preview)
    state = idle["state"] | {
        "skipped": task.skipped,
        "interrupted": task.interrupted,
        "job": f"Batch {number + 1} out of {count}",
        "job_count": count,
        "job_timestamp": time.strftime("%Y%m%d%H%M%S", time.localtime(task.began)),
        "job_no": number,
        "sampling_step": now.step,
        "sampling_steps": now.steps,
    }
    eta = spent / share - spent if share else 0.0
    return {**idle, "progress": min(share, 1.0), "eta_relative": eta, "state": state, "current_image": preview}

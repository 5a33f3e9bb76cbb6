"""``/sdapi/v1``: what there is, and options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from sfumato.jobs.messages import Prepare
from sfumato.request import LATENT_UPSCALERS
from sfumato.sampling import names
from sfumato.server.api import sdapi_options
from sfumato.server.api.sdapi_extra import RESIZERS
from sfumato.server.failures import NotSupportedError
from sfumato.server.services import Services
from sfumato.server.strict import Route
from sfumato.server.work import Tasks

#: Lists of what this server has none of.
_NONE = ("hypernetworks", "face-restorers", "realesrgan-models", "extensions", "script-info")
_UNSUPPORTED = ("create/embedding", "create/hypernetwork", "train/embedding", "train/hypernetwork")


class Options(BaseModel):
    """Options to change, by the web UI's keys."""

    model_config = ConfigDict(extra="allow")


def routes(services: Services, tasks: Tasks) -> APIRouter:
    """The routes that tell, and options."""
    router = APIRouter(prefix="/sdapi/v1", tags=["sdapi"], route_class=Route)
    _name_routes(router, services)
    _file_routes(router, services)
    _option_routes(router, services)
    _state_routes(router, services)
    for name in _NONE:
        router.add_api_route(f"/{name}", _empty, methods=["GET"], name=name)
    for name in _UNSUPPORTED:
        router.add_api_route(f"/{name}", _unsupported, methods=["POST"], name=name)
    return router


def _empty() -> list[Any]:
    """None: this server has none of these."""
    return []


def _unsupported() -> None:
    """Not done by this server; see ``sfumato train``."""
    raise NotSupportedError("Training by this API is not supported; use `sfumato train`.")


def _name_routes(router: APIRouter, services: Services) -> None:
    @router.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        """Samplers."""
        return [
            {"name": each.label, "aliases": list(each.aliases), "options": {"scheduler": each.automatic}}
            for each in names.SAMPLERS
        ]

    @router.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        """Noise schedules."""
        fixed = {"default_rho": -1.0, "need_inner_model": False}
        return [{"name": s.key, "label": s.label, "aliases": list(s.aliases), **fixed} for s in names.SCHEDULERS]

    @router.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        """Upscalers."""
        fixed = {"model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
        return [{"name": name, **fixed} for name in ("None", *RESIZERS, *services.upscalers())]

    @router.get("/latent-upscale-modes")
    def latent_modes() -> list[dict[str, Any]]:
        """Upscalers of latents, for the second pass."""
        return [{"name": name} for name in LATENT_UPSCALERS]

    @router.get("/scripts")
    def scripts() -> dict[str, list[str]]:
        """None."""
        return {"txt2img": [], "img2img": []}


def _file_routes(router: APIRouter, services: Services) -> None:
    @router.get("/sd-models")
    def models() -> list[dict[str, Any]]:
        """Models. ``filename`` is the file's name alone: where it lies is nobody's business."""
        return [
            {"title": name, "model_name": name, "hash": None, "sha256": None, "filename": path.name, "config": None}
            for name, path in services.models().items()
        ]

    @router.get("/sd-vae")
    def vaes() -> list[dict[str, Any]]:
        """VAE files."""
        return [{"model_name": name, "filename": path.name} for name, path in services.vaes().items()]

    @router.get("/loras")
    def loras() -> list[dict[str, Any]]:
        """LoRAs, for ``<lora:name:1>``."""
        return [_lora(name, path) for name, path in services.loras().items()]

    @router.get("/prompt-styles")
    def styles() -> list[dict[str, Any]]:
        """Styles, for ``styles``."""
        return [] if services.styles is None else [vars(style) for style in services.styles.read().values()]

    @router.get("/embeddings")
    def embeddings() -> dict[str, Any]:
        """Own words."""
        unread = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 0, "vectors": 0}
        return {"loaded": dict.fromkeys(services.embeddings(), unread), "skipped": {}}

    for name in ("checkpoints", "vae", "loras", "embeddings"):
        router.add_api_route(f"/refresh-{name}", _refresh, methods=["POST"], name=f"refresh-{name}")


def _lora(name: str, path: Path) -> dict[str, Any]:
    return {"name": name, "alias": name, "path": path.name, "metadata": {}}


def _refresh() -> None:
    """Nothing to do: folders are looked through at each call."""


def _option_routes(router: APIRouter, services: Services) -> None:
    @router.get("/options")
    def options() -> dict[str, Any]:
        """The options that there are."""
        return sdapi_options.current(services)

    @router.post("/options")
    def change(given: Options) -> None:
        """Change what can be changed, for all that comes next; anything else is refused by name."""
        services.choice.change(**vars(sdapi_options.read_overrides(given.model_extra or {}, services)))

    @router.get("/cmd-flags")
    def flags() -> dict[str, Any]:
        """The settings, by dotted key."""
        return {key: value for key, (value, _) in services.settings.items()}


def _state_routes(router: APIRouter, services: Services) -> None:
    @router.get("/memory")
    def memory() -> dict[str, Any]:
        """Memory of this machine, in bytes."""
        now = psutil.virtual_memory()
        ram = {"free": now.available, "used": now.used, "total": now.total}
        return {"ram": ram, "cuda": {"error": "unavailable"}}

    @router.post("/unload-checkpoint")
    def unload() -> None:
        """Let go of the model, after the job that is being drawn; the next job loads it again."""
        services.prepare(Prepare(loaded=False))

    @router.post("/reload-checkpoint")
    def reload() -> None:
        """Load the model of now before a job asks for it."""
        services.prepare(Prepare(model=services.model))

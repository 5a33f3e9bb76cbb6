"""``/api/v1/models`` and ``/api/v1/quantizations``: what is done with models, and what they look like."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict

from sfumato.jobs.messages import Prepare
from sfumato.server.portraits import portrait
from sfumato.server.quantizations import Quantizations, Smaller
from sfumato.server.services import Services
from sfumato.server.strict import Route


class Load(BaseModel):
    """Which model; without one, that of a request that names none."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = None


def routes(services: Services) -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/api/v1", tags=["models"], route_class=Route)
    _memory_routes(router, services)
    if services.quantizations is not None:
        _quantization_routes(router, services, services.quantizations)
    return router


def _memory_routes(router: APIRouter, services: Services) -> None:
    @router.post("/models/load", status_code=202)
    def load(given: Load) -> dict[str, Any]:
        """Have the workers load a model, after the job that is being drawn; does not wait for it."""
        model = services.model if given.model is None else services.find_model(given.model)
        services.prepare(Prepare(model=model))
        return {"model": model}

    @router.post("/models/unload", status_code=202)
    def unload() -> dict[str, Any]:
        """Have the workers let go of their model; the next job loads it again."""
        services.prepare(Prepare(loaded=False))
        return {"model": None}

    @router.get("/models/{name:path}/picture", response_class=Response)
    def picture(name: str) -> Response:
        """A WebP of at most 256 pixels a side; 204 where no picture is beside the model and none was made by it."""
        known = services.find_model(name)
        data = portrait(known, services.models()[known], services.gallery)
        if data is None:
            return Response(status_code=204)
        return Response(data, media_type="image/webp", headers={"Cache-Control": "private, max-age=60"})


def _quantization_routes(router: APIRouter, services: Services, quantizations: Quantizations) -> None:
    @router.post("/quantizations", status_code=201)
    def start(wanted: Smaller) -> dict[str, Any]:
        """Make a model smaller, beside the others; 409 while another is made, or if there is a file of this name."""
        model = services.find_model(wanted.model)
        return asdict(quantizations.start(wanted, services.models()[model]))

    @router.get("/quantizations")
    def list_quantizations() -> dict[str, Any]:
        """All since the server's start, the newest first."""
        return {"quantizations": [asdict(each) for each in quantizations.list()]}

    @router.get("/quantizations/{name}")
    def get(name: str) -> dict[str, Any]:
        """How one stands, and its report when it is done."""
        return asdict(quantizations.get(name))

    @router.delete("/quantizations/{name}")
    def cancel(name: str) -> dict[str, Any]:
        """End one that runs; nothing is left of it."""
        return asdict(quantizations.cancel(name))

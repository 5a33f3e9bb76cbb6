"""``/api/v1/models/NAME``, ``parts`` and ``privacy``: what files say of themselves, and what the server touches."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from sfumato.server.parts import PLACES, list_parts
from sfumato.server.privacy import sockets
from sfumato.server.services import Services
from sfumato.server.strict import Route
from sfumato.weights.digest import known_hash
from sfumato.weights.survey import survey


def routes(services: Services) -> APIRouter:
    """All of it."""
    router = APIRouter(prefix="/api/v1", tags=["facts"], route_class=Route)

    @router.get("/models/{name:path}")
    def inspect(name: str) -> dict[str, Any]:
        """What a model's headers say: family, types, networks, memory; the hash if it is known already."""
        path = services.models()[services.find_model(name)]
        found = {**asdict(survey(path)), "hash": known_hash(path)}
        return {"name": name, **{key: value for key, value in found.items() if key != "path"}}

    @router.get("/parts")
    def parts() -> dict[str, Any]:
        """LoRAs, embeddings, autoencoders and upscaling networks by their headers, and why one can't be used."""
        return {place: [asdict(part) for part in list_parts(services, place)] for place in PLACES}

    @router.get("/privacy")
    def privacy() -> dict[str, Any]:
        """The server's and its workers' internet sockets as they are now."""
        return asdict(sockets(services))

    return router

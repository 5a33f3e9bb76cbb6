"""``/api/v1/gallery``: finished pictures, found, marked and tidied."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from sfumato.gallery import foreign, index
from sfumato.gallery.album import Entry
from sfumato.server import images
from sfumato.server.api.native import describe_request, send_file
from sfumato.server.services import Services
from sfumato.server.strict import Route

Number = Annotated[float | None, Query(ge=0, le=1e12)]


class Changes(BaseModel):
    """What changes of a picture's marks; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    rating: Annotated[int, Field(ge=0, le=5)] | None = None
    favourite: bool | None = None
    tags: list[str] | None = None


def describe(entry: Entry) -> dict[str, Any]:
    """A picture as JSON."""
    here = f"/api/v1/gallery/{entry.id}"
    plain = {"id": entry.id, "path": entry.path, "created": entry.created, "bytes": entry.bytes}
    urls = {"url": f"{here}/file", "thumbnail": f"{here}/thumbnail"}
    return {**plain, **urls, **asdict(entry.facts), **asdict(entry.marks)}


def _asked(
    words: Annotated[str, Query(max_length=1000)] = "",
    model: str | None = None,
    tag: str | None = None,
    since: Number = None,
    until: Number = None,
    rating: Annotated[int, Query(ge=0, le=5)] = 0,
    favourite: bool = False,
) -> index.Query:
    """What a client looks for."""
    return index.Query(words=words, model=model, tag=tag, since=since, until=until, rating=rating, favourite=favourite)


def routes(services: Services) -> APIRouter:
    """The gallery's routes."""
    router = APIRouter(prefix="/api/v1/gallery", tags=["gallery"], route_class=Route)
    _search_routes(router, services)
    _picture_routes(router, services)
    _change_routes(router, services)
    return router


def _search_routes(router: APIRouter, services: Services) -> None:
    gallery = services.gallery

    @router.get("")
    def search(
        asked: Annotated[index.Query, Depends(_asked)],
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> dict[str, Any]:
        """Pictures that fit all that is given, the newest first."""
        page = gallery.search(replace(asked, limit=limit, offset=offset))
        return {"total": page.total, "pictures": [describe(entry) for entry in page.entries]}

    @router.get("/order", response_class=Response)
    def order(asked: Annotated[index.Query, Depends(_asked)]) -> Response:
        """Id, time and label of all pictures that fit, the newest first: enough to lay out any number of them."""
        found = [vars(each) for each in gallery.order(asked)]
        return Response(json.dumps({"total": len(found), "pictures": found}), media_type="application/json")

    @router.get("/models")
    def models() -> dict[str, int]:
        """Models that pictures name, with their number."""
        return gallery.models()

    @router.get("/tags")
    def tags() -> dict[str, int]:
        """Tags of pictures, with their number."""
        return gallery.tags()

    @router.get("/trash")
    def trashed() -> list[dict[str, Any]]:
        """What is in the trash."""
        return [asdict(each) for each in gallery.trashed()]


def _picture_routes(router: APIRouter, services: Services) -> None:
    gallery = services.gallery

    @router.get("/{picture}")
    def get(picture: str) -> dict[str, Any]:
        """One picture."""
        return describe(gallery.get(picture))

    @router.get("/{picture}/file", response_class=FileResponse)
    def file(picture: str) -> FileResponse:
        """Its file."""
        return send_file(gallery.file(picture))

    @router.get("/{picture}/thumbnail", response_class=Response)
    def thumbnail(picture: str, v: str = "") -> Response:
        """A WebP of at most 256 pixels a side. With ``v``, which is to change when the file does, browsers keep it."""
        headers = {"Cache-Control": "private, max-age=31536000, immutable"} if v else {}
        return Response(gallery.thumbnail(picture), media_type="image/webp", headers=headers)

    @router.get("/{picture}/differences/{other}")
    def differences(picture: str, other: str) -> dict[str, tuple[str, str]]:
        """What two pictures were made differently by: each setting with both values."""
        return foreign.differences(gallery.get(picture).facts, gallery.get(other).facts)


def _change_routes(router: APIRouter, services: Services) -> None:
    gallery = services.gallery

    @router.post("/read")
    async def read(request: Request) -> dict[str, Any]:
        """How a picture that is sent as the body was made, and the ``request`` that makes one like it."""
        return await run_in_threadpool(_read, await request.body(), services)

    @router.post("/scan")
    def scan() -> dict[str, int]:
        """Look through the folder for what came, changed or went."""
        return {"changed": gallery.scan()}

    @router.patch("/{picture}")
    def mark(picture: str, changes: Changes) -> dict[str, Any]:
        """Rate, tag or favour a picture."""
        given = changes.model_dump(exclude_none=True)
        return describe(gallery.mark(picture, **given | ({"tags": tuple(given["tags"])} if "tags" in given else {})))

    @router.delete("/{picture}")
    def trash(picture: str) -> dict[str, Any]:
        """Move a picture to the trash."""
        return asdict(gallery.trash(picture))

    @router.post("/trash/{item}/restore")
    def restore(item: str) -> dict[str, Any]:
        """Put a picture back."""
        return describe(gallery.restore(item))

    @router.delete("/trash/{item}", status_code=204)
    def delete(item: str) -> None:
        """Delete a picture of the trash for good."""
        gallery.delete(item)


def _read(data: bytes, services: Services) -> dict[str, Any]:
    images.from_bytes(data, services.limits.picture_pixels)
    facts = foreign.read_bytes(data)
    wanted = foreign.to_request(facts)
    return {**asdict(facts), "request": None if wanted is None else describe_request(wanted)}

"""``/api/v1/gallery``: finished pictures, found, marked and tidied."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from sfumato.gallery import index
from sfumato.gallery.album import Entry
from sfumato.server.api.native import send_file
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
        words: Annotated[str, Query(max_length=1000)] = "",
        model: str | None = None,
        tag: str | None = None,
        since: Number = None,
        until: Number = None,
        rating: Annotated[int, Query(ge=0, le=5)] = 0,
        favourite: bool = False,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    ) -> dict[str, Any]:
        """Pictures that fit all that is given, the newest first."""
        asked = index.Query(
            words=words, model=model, tag=tag, since=since, until=until,
            rating=rating, favourite=favourite, limit=limit, offset=offset,
        )  # fmt: skip
        page = gallery.search(asked)
        return {"total": page.total, "pictures": [describe(entry) for entry in page.entries]}

    @router.get("/models")
    def models() -> dict[str, int]:
        """Models that pictures name, with their number."""
        return gallery.models()

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
    def thumbnail(picture: str) -> Response:
        """A WebP of at most 256 pixels a side."""
        return Response(gallery.thumbnail(picture), media_type="image/webp")


def _change_routes(router: APIRouter, services: Services) -> None:
    gallery = services.gallery

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

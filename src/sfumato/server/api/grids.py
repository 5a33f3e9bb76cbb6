"""``/api/v1/grids``: one request over the values of its fields, and the sheet of all pictures."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfumato.errors import RequestError
from sfumato.grid.axes import Axis, make_axis
from sfumato.grid.expand import Grid, expand, matrix
from sfumato.jobs.types import Job
from sfumato.request import Txt2ImgRequest, expected_size
from sfumato.sampling import names
from sfumato.server.api.native import to_request
from sfumato.server.api.native_init import InitIn
from sfumato.server.api.native_init import describe as describe_init
from sfumato.server.api.native_schema import HiresFields, Txt2Img
from sfumato.server.grids import Grids, Kept, state_of
from sfumato.server.services import Services, client_of
from sfumato.server.strict import Route

Text = Annotated[str, Field(max_length=100_000)]
Value = Text | int | float | bool | tuple[int, int]
GridId = Annotated[str, InPath(pattern="^[0-9a-f]{32}$")]
SEEDS = 2**32


class AxisIn(BaseModel):
    """A ``field`` of the request and its ``values``: a list, or text as ``10-30 (+10)``."""

    model_config = ConfigDict(extra="forbid")

    field: Annotated[str, Field(min_length=1, max_length=100)]
    values: Text | Annotated[list[Value], Field(min_length=1, max_length=1000)]


class NewGrid(BaseModel):
    """A request and up to three axes; with ``matrix`` the parts of its prompt between bars come and go instead."""

    model_config = ConfigDict(extra="forbid")

    request: Txt2Img
    x: AxisIn | None = None
    y: AxisIn | None = None
    z: AxisIn | None = None
    matrix: bool = False
    model: str | None = None
    save: bool = True
    metadata: Literal["none", "ai-flag", "full"] | None = None


def to_grid(given: NewGrid, services: Services) -> Grid:
    """A checked grid; without a seed all its pictures have one that is drawn here.

    Raises:
        RequestError: an axis can't be read or does not fit, or a picture of it can't be drawn here.
    """
    model = services.model if given.model is None else services.find_model(given.model)
    request = to_request(given.request, services)
    if request.seed is None:
        request = replace(request, seed=secrets.randbelow(SEEDS))
    x, y, z = (Axis() if each is None else make_axis(each.field, each.values) for each in (given.x, given.y, given.z))
    varied = any(axis.field for axis in (x, y, z))
    if varied is given.matrix:
        raise RequestError("A grid has axes (x, y, z) or is a matrix, which makes its own; give one of the two.")
    if request.batch_size != 1:
        raise RequestError("A grid has one picture a cell; leave batch_size at 1.")
    grid = matrix(request, model) if given.matrix else expand(request, x, y, z, model)
    for cell in grid.cells:
        check_cell(cell.request, services)
    return grid


def check_cell(request: Txt2ImgRequest, services: Services) -> None:
    """Raises RequestError for a value of an axis that a request may not have."""
    own = {name: getattr(request, name) for name in Txt2Img.model_fields if name not in ("hires", "init")}
    parts: list[tuple[type[BaseModel], Mapping[str, Any]]] = [(Txt2Img, own)]
    if request.hires is not None:
        parts.append((HiresFields, asdict(request.hires)))
    if (init := describe_init(request.init)) is not None:
        init["mask"] = init["mask"] and {**init["mask"], "picture": ""}
        parts.append((InitIn, {**{k: v for k, v in init.items() if k != "size"}, "picture": ""}))
    for schema, values in parts:
        try:
            schema.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place, value = ".".join(map(str, first["loc"])), str(first["input"])[:40]
            raise RequestError(f"{place} is {value!r} in one of the pictures: {first['msg']}.") from None
    width, height = expected_size(request)
    services.limits.check(steps=request.steps, width=width, height=height, batch=1)
    names.resolve(request.sampler, request.scheduler)


def routes(services: Services) -> APIRouter:
    """The routes of grids."""
    router = APIRouter(prefix="/api/v1/grids", tags=["grids"], route_class=Route)
    grids = Grids(services)
    _create_routes(router, services, grids)
    _kept_routes(router, grids)
    return router


def _create_routes(router: APIRouter, services: Services, grids: Grids) -> None:
    @router.post("", status_code=201)
    def create(
        given: NewGrid,
        request: Request,
        response: Response,
        idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
    ) -> dict[str, Any]:
        """Queue a job for each combination of the axes' values. The same Idempotency-Key again gives the same grid."""
        grid = to_grid(given, services)
        kept = grids.create(
            grid,
            given.model_dump_json(),
            idempotency_key,
            client=client_of(request),
            save=given.save,
            metadata=given.metadata,
        )
        response.headers["Location"] = f"/api/v1/grids/{kept.id}"
        return describe(kept, grids.jobs(kept))


def _kept_routes(router: APIRouter, grids: Grids) -> None:
    @router.get("")
    def list_grids(limit: Annotated[int, Query(ge=1, le=100)] = 20) -> dict[str, Any]:
        """The newest grids, without their cells."""
        found = [(kept, grids.jobs(kept)) for kept in grids.all()[:limit]]
        return {"grids": [{**describe(kept, jobs), "cells": None} for kept, jobs in found]}

    @router.get("/{grid}")
    def get(grid: GridId) -> dict[str, Any]:
        """A grid with its cells' jobs."""
        kept = grids.get(grid)
        return describe(kept, grids.jobs(kept))

    @router.post("/{grid}/cancel")
    def cancel(grid: GridId) -> dict[str, Any]:
        """End every job of the grid that has not ended; finished pictures stay."""
        kept = grids.get(grid)
        grids.cancel(kept)
        return describe(kept, grids.jobs(kept))

    @router.get("/{grid}/sheet", response_class=Response)
    def sheet(grid: GridId) -> Response:
        """The labelled sheet of the pictures that there are, a PNG; 409 as long as there is none."""
        return Response(grids.sheet(grids.get(grid)), media_type="image/png")

    @router.delete("/{grid}", status_code=204)
    def forget(grid: GridId) -> None:
        """Forget a grid that has ended, with its jobs; pictures in the gallery stay."""
        grids.forget(grids.get(grid))


def describe(kept: Kept, jobs: list[Job | None]) -> dict[str, Any]:
    """A grid as JSON."""
    axes = {name: getattr(kept.layout, name) for name in ("x", "y", "z")}
    cells = zip(kept.layout.places, kept.jobs, jobs, strict=True)
    return {
        "id": kept.id,
        "created": kept.created,
        "state": state_of(jobs),
        **{name: {"field": axis.field, "labels": axis.labels} if axis.field else None for name, axis in axes.items()},
        "total": len(jobs),
        "ended": sum(job is None or job.state.ended for job in jobs),
        "sheet": f"/api/v1/grids/{kept.id}/sheet",
        "cells": [{"x": at[0], "y": at[1], "z": at[2], **_describe_cell(id, job)} for at, id, job in cells],
    }


def _describe_cell(id: str, job: Job | None) -> dict[str, Any]:
    if job is None:
        return {"job": id, "state": "forgotten", "picture": None, "cause": None}
    return {
        "job": id,
        "state": job.state.value,
        "picture": f"/api/v1/jobs/{id}/pictures/0" if job.pictures else None,
        "cause": None if job.cause is None else job.cause.message,
    }

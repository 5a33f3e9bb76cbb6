"""ComfyUI's API, for graphs of the common nodes: under ``/api``, and at the root where no page is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any

import psutil
from fastapi import APIRouter, HTTPException, Path, Query, Request, WebSocket
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import UploadFile

import sfumato
from sfumato.errors import RequestError
from sfumato.jobs.messages import Prepare
from sfumato.runtime.device import quick
from sfumato.server.api import comfy_socket
from sfumato.server.api.comfy_graph import GraphError, translate
from sfumato.server.api.comfy_inputs import Inputs, Reference, read_reference
from sfumato.server.api.comfy_nodes import NODES, describe
from sfumato.server.api.comfy_prompts import Prompts, history
from sfumato.server.api.native import send_file
from sfumato.server.refusals import note
from sfumato.server.services import Services, client_of
from sfumato.server.strict import loads

#: The most bytes of a graph.
MAX_GRAPH = 1 << 18
Names = list[str]


def _body(**fields: dict[str, Any]) -> dict[str, Any]:
    """What the schema says of a body, which clients send as any type."""
    schema = {"type": "object", "properties": fields}
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


_NAMES = {"type": "array", "items": {"type": "string"}}
_CHANGE = _body(clear={"type": "boolean"}, delete=_NAMES)


def _form(*names: str) -> dict[str, Any]:
    """What the schema says of a form: its ``image`` is a file."""
    fields = {name: {"type": "string", **({"format": "binary"} if name == "image" else {})} for name in names}
    schema = {"type": "object", "properties": fields}
    return {"requestBody": {"content": {"multipart/form-data": {"schema": schema}}}}


def routes(services: Services) -> tuple[APIRouter, APIRouter]:
    """The routes under ``/api``, and the same ones at the root but for ``GET /queue``, which is a page."""
    prompts, inputs = Prompts(services), Inputs(services.queue.folder / "inputs", services.limits)
    made = []
    for prefix in ("/api", ""):
        router = APIRouter(prefix=prefix, tags=["comfyui"], include_in_schema=bool(prefix))
        _prompt_routes(router, services, prompts, inputs)
        _history_routes(router, prompts)
        _queue_routes(router, prompts, page=not prefix)
        _file_routes(router, services, prompts, inputs)
        _upload_routes(router, prompts, inputs)
        _fact_routes(router, services, inputs)

        @router.websocket("/ws")
        async def socket(websocket: WebSocket) -> None:
            await comfy_socket.serve(websocket, services, prompts)

        made.append(router)
    return made[0], made[1]


async def _read(request: Request) -> dict[str, Any]:
    """The body's object, of whatever type the client says it is."""
    body = await request.body()
    if len(body) > MAX_GRAPH:
        raise HTTPException(413, f"A graph has at most {MAX_GRAPH} bytes here.")
    try:
        given = loads(body)
    except json.JSONDecodeError as error:
        raise HTTPException(400, f"The body is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise HTTPException(400, "The body is not an object.")
    return given


def _prompt_routes(router: APIRouter, services: Services, prompts: Prompts, inputs: Inputs) -> None:
    @router.post("/prompt", response_model=None, openapi_extra=_body(prompt={"type": "object"}))
    async def submit(request: Request) -> dict[str, Any] | JSONResponse:
        """Queue a graph; 400 names the nodes that can't be drawn by."""
        given = await _read(request)
        extra = given.get("extra_data")
        try:
            wanted = await asyncio.to_thread(translate, given.get("prompt"), services, inputs)
        except GraphError as error:
            note(request.scope, str(error))
            return refused(error, given.get("prompt"))
        made = await asyncio.to_thread(
            prompts.submit,
            given["prompt"],
            wanted,
            client=str(given.get("client_id") or "")[: comfy_socket.MAX_CLIENT],
            extra=extra if isinstance(extra, dict) else {},
            owner=client_of(request),
            front=given.get("front") is True,
        )
        return {"prompt_id": made.id, "number": made.number, "node_errors": {}}

    @router.get("/prompt")
    def remaining() -> dict[str, Any]:
        """How many prompts have not ended."""
        return {"exec_info": {"queue_remaining": prompts.remaining()}}

    @router.post("/interrupt")
    def interrupt() -> None:
        """End what is being drawn."""
        prompts.interrupt()


def _history_routes(router: APIRouter, prompts: Prompts) -> None:
    @router.get("/history")
    def histories(max_items: Annotated[int | None, Query(ge=0, le=10_000)] = None) -> dict[str, Any]:
        """The prompts that have ended, the oldest first."""
        ended = [each for each in prompts.all() if each.outcome is not None]
        first = 0 if max_items is None else max(0, len(ended) - max_items)
        return {each.id: history(each) for each in ended[first:]}

    @router.get("/history/{prompt}")
    def one(prompt: Annotated[str, Path(pattern="^[0-9a-f]{32}$")]) -> dict[str, Any]:
        """One that has ended; nothing of one that has not."""
        found = prompts.find(prompt)
        ended = found is not None and prompts.settle(found) and found.outcome is not None
        return {prompt: history(found)} if ended and found is not None else {}

    @router.post("/history", openapi_extra=_CHANGE)
    async def forget(request: Request) -> None:
        """Take prompts out of the history."""
        await asyncio.to_thread(prompts.forget, _names(await _read(request)))


def refused(error: GraphError, graph: object) -> JSONResponse:
    """A graph's fault, as ComfyUI says it."""
    fault = {"type": error.kind, "message": str(error), "details": error.name, "extra_info": {}}
    nodes: dict[str, Any] = {}
    if error.node is not None and isinstance(graph, dict):
        node = graph.get(error.node)
        kind = node.get("class_type") if isinstance(node, dict) else None
        nodes[error.node] = {"errors": [fault], "dependent_outputs": [], "class_type": kind}
    return JSONResponse({"error": fault, "node_errors": nodes}, 400)


def _names(given: Mapping[str, Any]) -> Names | None:
    """Whom a ``{clear, delete}`` means; None is all."""
    if given.get("clear") is True:
        return None
    which = given.get("delete", [])
    if not isinstance(which, list):
        raise RequestError("delete is a list of prompt ids.")
    return [str(each) for each in which]


def _queue_routes(router: APIRouter, prompts: Prompts, *, page: bool) -> None:
    def queue() -> dict[str, Any]:
        """What is drawn, and what waits."""
        running, pending = prompts.waiting()
        return {
            "queue_running": [each.listed() for each in running],
            "queue_pending": [each.listed() for each in pending],
        }

    if not page:
        router.add_api_route("/queue", queue, methods=["GET"])

    @router.post("/queue", openapi_extra=_CHANGE)
    async def withdraw(request: Request) -> None:
        """Take prompts that wait out of the queue."""
        await asyncio.to_thread(prompts.withdraw, _names(await _read(request)))


def _file_routes(router: APIRouter, services: Services, prompts: Prompts, inputs: Inputs) -> None:
    @router.get("/view", response_class=FileResponse)
    def view(filename: str, subfolder: str = "", type: str = "output") -> FileResponse:
        """A picture that a history names, or that was uploaded."""
        path = _find((type, subfolder, filename), prompts, inputs)
        if path is None:
            raise HTTPException(404, "There is no such picture.")
        return send_file(path)

    @router.post("/free", openapi_extra=_body(unload_models={"type": "boolean"}, free_memory={"type": "boolean"}))
    async def free(request: Request) -> None:
        """Have the workers let go of their model."""
        given = await _read(request)
        if given.get("unload_models") is True or given.get("free_memory") is True:
            services.prepare(Prepare(loaded=False))


def _find(which: Reference, prompts: Prompts, inputs: Inputs) -> FilePath | None:
    """Where a picture lies that was uploaded, or that a history names; nothing else has a place."""
    kind, subfolder, name = which
    path = inputs.file(name) if kind == "input" else prompts.file(kind, subfolder, name)
    return path if path is not None and path.is_file() else None


def _upload_routes(router: APIRouter, prompts: Prompts, inputs: Inputs) -> None:
    @router.post("/upload/image", openapi_extra=_form("image"))
    async def upload(request: Request) -> dict[str, str]:
        """Send a picture for LoadImage; take the name that is answered."""
        data, _ = await _sent(request)
        return {"name": await asyncio.to_thread(inputs.put, data), "subfolder": "", "type": "input"}

    @router.post("/upload/mask", openapi_extra=_form("image", "original_ref"))
    async def upload_mask(request: Request) -> dict[str, str]:
        """Send the transparency of a picture that is here, `original_ref`; take the name that is answered."""
        data, reference = await _sent(request)
        which = read_reference(reference)
        original = await asyncio.to_thread(_find, which, prompts, inputs)
        if original is None:
            raise RequestError(
                f"original_ref: there is no picture {which[2][:80]!r} of type {which[0][:20]!r}; take a name "
                "that /upload/image or a history gave."
            )
        return {"name": await asyncio.to_thread(inputs.put_mask, data, original), "subfolder": "", "type": "input"}


async def _sent(request: Request) -> tuple[bytes, object]:
    """A form's picture file, and its ``original_ref``."""
    async with request.form(max_files=1, max_fields=16) as form:
        sent, reference = form.get("image"), form.get("original_ref")
        data = await sent.read() if isinstance(sent, UploadFile) else None
    if data is None:
        raise RequestError("image: a picture file is needed.")
    return data, reference


def _fact_routes(router: APIRouter, services: Services, inputs: Inputs) -> None:
    @router.get("/object_info")
    def nodes() -> dict[str, Any]:
        """All classes of nodes that there are here."""
        uploads = inputs.names()
        return {name: describe(name, services, uploads) for name in NODES}

    @router.get("/object_info/{name}")
    def node(name: Annotated[str, Path(pattern=r"^\w[\w .+-]{0,99}$")]) -> dict[str, Any]:
        """One class; nothing of one that is not here."""
        return {name: describe(name, services, inputs.names())} if name in NODES else {}

    @router.get("/system_stats")
    def stats() -> dict[str, Any]:
        """The machine and its device, in bytes."""
        memory, device = psutil.virtual_memory(), quick(str(services.settings.get("device", ("cpu", ""))[0]))
        held = {"vram_total": device.total_memory, "vram_free": device.free_memory}
        return {
            "system": {
                "os": sys.platform,
                "ram_total": memory.total,
                "ram_free": memory.available,
                "comfyui_version": f"sfumato {sfumato.__version__}",
                "python_version": sys.version.split()[0],
                "embedded_python": False,
            },
            "devices": [
                {
                    "name": device.name,
                    "type": device.kind,
                    "index": 0,
                    **held,
                    "torch_vram_total": device.total_memory,
                    "torch_vram_free": device.free_memory,
                }
            ],
        }

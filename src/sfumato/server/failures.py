"""Errors as answers: a status for each kind, and the shape that each dialect's clients read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from sfumato.errors import SfumatoError
from sfumato.server.refusals import note

#: The paths of ComfyUI's dialect.
_COMFY = re.compile(r"(/api)?/(prompt|history|queue|interrupt|view|upload|object_info|system_stats|free)(/.*)?")

STATUS: Mapping[str, int] = {
    "RequestError": 400,
    "ConfigError": 400,
    "CheckpointError": 404,
    "UnknownJobError": 404,
    "JobStateError": 409,
    "IdempotencyError": 409,
    "QueueFullError": 429,
    "DeviceError": 503,
    "OutOfMemoryError": 503,
    "OutOfMemoryKill": 503,
    "NotSupportedError": 501,
    "StoppedError": 409,
}


class NotSupportedError(SfumatoError):
    """The dialect has it, this server does not."""


class StoppedError(SfumatoError):
    """The job was cancelled before there was a picture."""


class DrawingError(SfumatoError):
    """A job failed; ``kind`` is its cause's."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def status_of(error: SfumatoError) -> int:
    """The HTTP status of an error."""
    return STATUS.get(getattr(error, "kind", type(error).__name__), 500)


def install(app: FastAPI) -> None:
    """Answer every error in the shape of the path's dialect."""

    @app.exception_handler(SfumatoError)
    async def ours(request: Request, error: SfumatoError) -> JSONResponse:
        note(request.scope, str(error))
        return shape(request.url.path, status_of(error), getattr(error, "kind", type(error).__name__), str(error))

    @app.exception_handler(HTTPException)
    async def plain(request: Request, error: HTTPException) -> JSONResponse:
        note(request.scope, str(error.detail))
        answer = shape(request.url.path, error.status_code, "HTTPException", str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [{"loc": list(each["loc"]), "msg": each["msg"], "type": each["type"]} for each in error.errors()]
        first = f"{faults[0]['loc'][-1]}: {faults[0]['msg']}"
        note(request.scope, first)
        if request.url.path.startswith("/v1/"):
            return shape(request.url.path, 400, "RequestError", first)
        return JSONResponse({"detail": faults}, 422)


def shape(path: str, status: int, kind: str, message: str) -> JSONResponse:
    """An error as the dialect of ``path`` says it."""
    content: dict[str, Any]
    if path.startswith("/sdapi/"):
        content = {"error": kind, "detail": message, "body": "", "errors": message}
    elif path.startswith("/v1/"):
        kinds = "invalid_request_error" if status < 500 else "server_error"
        content = {"error": {"message": message, "type": kinds, "param": None, "code": kind}}
    elif _COMFY.fullmatch(path):
        content = {"error": {"type": kind, "message": message, "details": "", "extra_info": {}}, "node_errors": {}}
    else:
        content = {"error": {"kind": kind, "message": message}}
    return JSONResponse(content, status)
